"""Which events may have arrived without our knowing: noted before a request, durably.

One small file per destination in the spool directory, written by whoever holds the role. It errs on
the side of doubt: an event it names may have arrived, one that it does not name did not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import msgspec

from streamgauge.core.clock import Clock
from streamgauge.core.files import Directory, read_all


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """Events of one spool that may have arrived: through ``number``, first tried at ``at_ns``."""

    number: int
    at_ns: int


class Attempts:
    """Attempts whose outcome is not known.

    Args:
        root: Where spools are.
        name: The file's name there.
        clock: Says when attempts begin.
    """

    def __init__(self, root: Directory, name: str, *, clock: Clock) -> None:
        self._root = root
        self._name = name
        self._clock = clock
        self._noted: dict[str, Attempt] = {}
        self._written: dict[str, Attempt] = {}
        self._before: dict[str, Attempt] = {}

    def load(self) -> None:
        """Take over what an earlier holder of the role has noted; a damaged file doubts nothing.

        Raises:
            OSError: It cannot be read.
        """
        self._noted = {}
        with (
            contextlib.suppress(FileNotFoundError, msgspec.MsgspecError),
            contextlib.closing(self._root.open(self._name)) as file,
        ):
            self._noted = msgspec.json.decode(read_all(file), type=dict[str, Attempt])
        self._written = dict(self._noted)

    def since(self, spool: str, number: int) -> int | None:
        """Return when the event was first tried before this attempt; None: it was not."""
        attempt = self._before.get(spool)
        return attempt.at_ns if attempt is not None and number <= attempt.number else None

    def begin(self, events: Iterable[tuple[str, int]]) -> None:
        """Note that these are about to be tried, the oldest of every spool named.

        A disk that refuses is tried again with the next attempt: a full one must not stop what
        would empty it.
        """
        now_ns = self._clock.time_ns()
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for spool, number in events:
            first.setdefault(spool, number)
            last[spool] = number
        # What is behind the oldest waiting event of its spool is settled.
        self._before = {
            spool: attempt
            for spool, attempt in self._noted.items()
            if attempt.number >= first.get(spool, 0)
        }
        noted = dict(self._before)
        for spool, number in last.items():
            known = self._before.get(spool)
            at_ns = now_ns if known is None else known.at_ns
            noted[spool] = Attempt(max(number, known.number if known else 0), at_ns)
        self._noted = noted
        if noted != self._written:
            with contextlib.suppress(OSError):
                self._root.replace(self._name, msgspec.json.encode(noted))
                self._written = noted

    def settle(self, spool: str, number: int) -> None:
        """Note that the events of a spool through ``number`` are settled."""
        attempt = self._noted.get(spool)
        if attempt is not None and attempt.number <= number:
            self._noted = {name: each for name, each in self._noted.items() if name != spool}

    def forget_last(self) -> None:
        """Note that nothing of the last attempt has arrived; on disk the doubt stays for now."""
        self._noted = self._before

    def retain(self, spools: Iterable[str]) -> None:
        """Forget spools that are not among ``spools``, and the file if none is left.

        Raises:
            OSError: It cannot be removed.
        """
        known = frozenset(spools)
        self._noted = {name: attempt for name, attempt in self._noted.items() if name in known}
        if not self._noted and self._written:
            self._root.remove(self._name)
            self._written = {}
