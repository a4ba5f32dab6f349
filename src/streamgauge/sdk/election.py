"""One process delivers for all that share a spool directory and a destination.

The role is a lock on a file that is named after the destination: whoever holds it delivers the
spools of live processes and adopts those of dead ones; it ends with its process, and the next that
asks has it. A forked child gives up its copy of the lock and asks for itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from typing import Final

import msgspec

from streamgauge.core.clock import NS_PER_S, Clock
from streamgauge.core.files import Directory, Lock, read_all
from streamgauge.core.limits import AUTH_RETRY_S
from streamgauge.sdk.identity import Destination

_PREFIX: Final = "deliverer-"
_ATTEMPTS_PREFIX: Final = "attempts-"
_DIGEST_CHARS: Final = 16
_NAME: Final = re.compile(rf"(?:{_PREFIX}|{_ATTEMPTS_PREFIX})[0-9a-f]{{{_DIGEST_CHARS}}}(?:\.new)?")


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """What the file of the role says.

    Attributes:
        writer_id: Who holds or held it.
        pid: Its process, as that process sees itself.
        key_refused_at_ns: When a holder gave it up because its key was not accepted; 0: no such.
    """

    writer_id: str
    pid: int
    key_refused_at_ns: int = 0


class Election:
    """The role of one destination, as one process sees it.

    Args:
        root: Where spools are.
        destination: Where events go.
        term: Who we are.
        clock: Says when the role may be asked for again.
        is_private: Whether there is nothing to share: the role is ours without a lock.
    """

    def __init__(
        self,
        root: Directory,
        destination: Destination,
        term: Term,
        *,
        clock: Clock,
        is_private: bool = False,
    ) -> None:
        self._root = root
        self._term = term
        self._clock = clock
        self._is_private = is_private
        self._lock: Lock | None = None
        self._not_before_ns: int | None = None
        self.name = role_name(destination)
        self.attempts_name = _ATTEMPTS_PREFIX + self.name.removeprefix(_PREFIX)

    @property
    def is_ours(self) -> bool:
        """Return whether we deliver."""
        return self._is_private or self._lock is not None

    @property
    def is_lost(self) -> bool:
        """Return whether the role's file was removed from outside: another may have the role."""
        return self._lock is not None and not self._lock.is_whole()

    def stand(self) -> bool:
        """Take the role if it is free; return whether it is ours.

        Raises:
            OSError: The directory or the disk refuses.
        """
        if self.is_ours:
            return True
        if self._not_before_ns is not None and self._clock.monotonic_ns() < self._not_before_ns:
            return False
        self._lock = self._root.lock(self.name)
        return self._lock is not None

    def begin(self) -> float:
        """Write down that the role is ours.

        Returns:
            Seconds until the sink may be asked: a key that was refused is tried once a minute,
            whoever tries it.
        """
        if self._is_private:
            return 0.0
        before = read_term(self._root, self.name)
        # Only for people; without room on disk the role is ours all the same.
        with contextlib.suppress(OSError):
            self._write(self._term)
        if before is None or not before.key_refused_at_ns:
            return 0.0
        passed_s = (self._clock.time_ns() - before.key_refused_at_ns) / NS_PER_S
        return AUTH_RETRY_S - passed_s if 0 <= passed_s < AUTH_RETRY_S else 0.0

    def pass_on(self) -> None:
        """Give up the role because our key is not accepted; another's may be."""
        if self._lock is None:
            return
        with contextlib.suppress(OSError):
            refused_at_ns = self._clock.time_ns()
            self._write(msgspec.structs.replace(self._term, key_refused_at_ns=refused_at_ns))
        self._not_before_ns = self._clock.monotonic_ns() + AUTH_RETRY_S * NS_PER_S
        self.abandon()

    def resign(self) -> None:
        """Give up the role for good, as the last step of its holder."""
        if self._lock is not None and self._lock.is_whole():
            with contextlib.suppress(OSError):
                self._root.remove(self.name)
        self.abandon()

    def abandon(self) -> None:
        """Let go of the lock; in a forked process, of a copy that means nothing."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _write(self, term: Term) -> None:
        with contextlib.closing(self._root.open(self.name)) as file:
            data = msgspec.json.encode(term)
            file.truncate(0)
            file.write_at(0, data)


def role_name(destination: Destination) -> str:
    """Return the name of the file whose lock is the role of ``destination``."""
    named = msgspec.json.encode(destination)
    return _PREFIX + hashlib.sha256(named).hexdigest()[:_DIGEST_CHARS]


def is_role_file(name: str) -> bool:
    """Return whether a name beside spools is one of the elections' own."""
    return _NAME.fullmatch(name) is not None


def read_term(root: Directory, name: str) -> Term | None:
    """Return who holds or held a role; None: nobody wrote it down."""
    try:
        with contextlib.closing(root.open(name)) as file:
            return msgspec.json.decode(read_all(file), type=Term)
    except (OSError, msgspec.MsgspecError):
        return None
