"""Other processes' spools: those of dead ones taken over, those of live ones delivered from here.

Only the holder of the role looks at them (``sdk.election``).
"""

from __future__ import annotations

import errno
import threading
from typing import Final

from streamgauge.core.clock import NS_PER_S, Clock
from streamgauge.core.errors import LockedError, StreamgaugeError
from streamgauge.core.files import Directory
from streamgauge.core.limits import ADOPTED_AT_ONCE_MAX, LEFT_ALONE_MAX, SIBLINGS_MAX
from streamgauge.sdk.election import is_role_file
from streamgauge.sdk.identity import Destination
from streamgauge.sdk.notices import Notices
from streamgauge.sdk.recovery import recover_tally
from streamgauge.sdk.reserve import DISK_FULL
from streamgauge.sdk.sibling import Sibling
from streamgauge.sdk.spool import Spool
from streamgauge.sdk.spooldir import WRITER_ID, discard_spool, open_spool, tidy_remains
from streamgauge.sdk.stats import Adopted

_PASSING: Final = (*DISK_FULL, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Troubles of the system, not of the spool: the next look tries again."""
_MAKING_NS: Final = 10 * NS_PER_S
"""A process that makes its spool has marked it long before."""


class Adopter:
    """Looks for spools beside ours, and keeps count of what it took over from dead processes.

    Args:
        root: Where spools are.
        own: The writer id of our own spool.
        destination: Where our events go; other spools are left alone.
        clock: Given to adopted spools.
        notices: Told of each spool that is left alone, and of damage, once.
        with_siblings: Whether spools of live processes are delivered from here.
    """

    def __init__(
        self,
        root: Directory,
        own: str,
        destination: Destination,
        *,
        clock: Clock,
        notices: Notices,
        with_siblings: bool = False,
    ) -> None:
        self._root = root
        self._destination = destination
        self._clock = clock
        self._notices = notices
        self._seen = {own}
        self._with_siblings = with_siblings
        self._siblings: dict[str, Sibling] = {}
        # Alive or in passing trouble: not met again before the next whole look.
        self._later: set[str] = set()
        self._unfinished_since_ns: dict[str, int] = {}
        self._left_alone: list[str] = []
        self._gone = Adopted()
        self._lock = threading.RLock()
        # Adopted while the disk had no room for what is in their pages alone.
        self._unbilled: list[Spool] = []
        self.spools: list[Spool] = []
        self.more = False
        """Whether the last look ended before it had met every spool."""

    @property
    def left_alone(self) -> tuple[str, ...]:
        """Return what is not ours to bill, and why."""
        return tuple(self._left_alone)

    @property
    def siblings(self) -> list[Sibling]:
        """Return the spools of live processes that are delivered from here."""
        return list(self._siblings.values())

    def look(self, *, only_new: bool = False) -> None:
        """Adopt spools of our destination whose process is gone, a few at a time.

        Args:
            only_new: Leave out what was alive at the last look.
        """
        for spool in list(self._unbilled):
            self._bill_pages(spool)
        try:
            names = self._root.names()
        except OSError as error:
            self._notices.tell("adoption", f"the spool directory cannot be read: {error}")
            return
        if not only_new:
            self._later.clear()
            for name in self._unfinished_since_ns.keys() - set(names):
                del self._unfinished_since_ns[name]
        met = self._seen | self._later
        if only_new:
            met |= self._siblings.keys()
        self.more = False
        for name in names:
            if name in met or is_role_file(name):
                continue
            if len(self.spools) >= ADOPTED_AT_ONCE_MAX:
                self.more = True
                return
            self._meet(name)

    def dismiss_gone(self) -> None:
        """Forget live processes' spools that ended empty."""
        for name in [name for name, sibling in self._siblings.items() if sibling.is_gone]:
            self._siblings.pop(name).close()

    def give_up(self) -> None:
        """Leave everything to another process, which may adopt and deliver it at once."""
        self.close()
        with self._lock:
            for spool in self.spools:
                self._seen.discard(spool.name)
                self._gone = _added(self._gone, spool, with_waiting=False)
            self.spools = []
            self._unbilled = []

    def dismiss_idle(self) -> None:
        """Remove adopted spools that are empty, and whose pages are billed."""
        idle = [spool for spool in self.spools if spool.idle and spool not in self._unbilled]
        for spool in idle:
            with self._lock:
                self.spools.remove(spool)
                self._gone = _added(self._gone, spool)
            try:
                spool.trim()
                discard_spool(self._root, spool)
            except OSError as error:
                spool.close()
                self._notices.tell("adoption", f"an empty spool cannot be removed: {error}")

    def adopted(self) -> Adopted:
        """Return the sums over all spools that were taken over."""
        with self._lock:
            sums = self._gone
            for spool in self.spools:
                with spool.changed:
                    sums = _added(sums, spool)
            return sums

    def close(self) -> None:
        """Give up what is not delivered yet; another process adopts it."""
        self.dismiss_idle()
        for spool in self.spools:
            spool.close()
        for sibling in self._siblings.values():
            sibling.close()
        self._siblings.clear()

    def _meet(self, name: str) -> None:
        if not WRITER_ID.fullmatch(name):
            self._leave_alone(name, "it is no spool")
            return
        try:
            self._adopt(name)
        except LockedError:
            self._watch(name)
        except FileNotFoundError:
            self._tidy(name)
        except (StreamgaugeError, OSError) as error:
            self._leave_alone(name, error)

    def _adopt(self, name: str) -> None:
        spool = open_spool(self._root, name, self._destination, clock=self._clock)
        try:
            self._bill_pages(spool)
        except BaseException:
            spool.close()
            raise
        self._seen.add(name)
        if name in self._siblings:
            self._siblings.pop(name).close()
        self.spools.append(spool)

    def _bill_pages(self, spool: Spool) -> None:
        waits = spool in self._unbilled
        try:
            damages = recover_tally(spool)
        except OSError as error:
            if not waits and error.errno not in DISK_FULL:
                raise
            told = f"the spool {spool.name} is delivered, but not all of it is billed yet: {error}"
            self._notices.tell("adoption", told)
            if not waits:
                self._unbilled.append(spool)
            return
        if waits:
            self._unbilled.remove(spool)
        damages += [str(error) for error in spool.journal.recovery.corrupt]
        if damages:
            self._leave_alone(spool.name, f"what is whole in it is delivered, but {damages[0]}")

    def _watch(self, name: str) -> None:
        """Deliver the spool of a live process, unless it does that itself."""
        if name in self._siblings:
            return
        self._later.add(name)
        if not self._with_siblings:
            return
        if len(self._siblings) >= SIBLINGS_MAX:
            told = f"more than {SIBLINGS_MAX} processes share the directory, some of them wait"
            self._notices.tell("siblings", told)
            return
        try:
            self._siblings[name] = Sibling(self._root.child(name), name, clock=self._clock)
        except FileNotFoundError:
            # One without the mark is being made, about to go, or delivers its own.
            if self._may_be_in_the_making(name):
                self._later.discard(name)
        except (StreamgaugeError, OSError) as error:
            told = f"the live spool {name} cannot be delivered from here: {error}"
            self._notices.tell("siblings", told)

    def _tidy(self, name: str) -> None:
        # Whoever is making it would find it gone between two steps, and have to begin again.
        if self._may_be_in_the_making(name):
            return
        try:
            tidy_remains(self._root, name)
        except (FileNotFoundError, LockedError):
            return
        except (StreamgaugeError, OSError) as error:
            self._leave_alone(name, error)

    def _may_be_in_the_making(self, name: str) -> bool:
        now_ns = self._clock.monotonic_ns()
        return now_ns - self._unfinished_since_ns.setdefault(name, now_ns) < _MAKING_NS

    def _leave_alone(self, name: str, reason: object) -> None:
        if isinstance(reason, OSError) and reason.errno in _PASSING:
            self._later.add(name)
            self._notices.tell("adoption", f"the spool {name} cannot be adopted yet: {reason}")
            return
        self._seen.add(name)
        if len(self._left_alone) < LEFT_ALONE_MAX:
            self._left_alone.append(f"{name}: {reason}")
        self._notices.tell("left alone", f"the spool {name} is left alone: {reason}")


def _added(sums: Adopted, spool: Spool, *, with_waiting: bool = True) -> Adopted:
    ledger = spool.ledger
    spooled = ledger.pending_bytes if with_waiting else 0
    acknowledged = ledger.acknowledged_bytes
    return Adopted(
        bytes=sums.bytes + spooled + acknowledged + ledger.refused_bytes,
        spooled_bytes=sums.spooled_bytes + spooled,
        acknowledged_bytes=sums.acknowledged_bytes + acknowledged,
        refused_bytes=sums.refused_bytes + ledger.refused_bytes,
        spools=sums.spools + 1,
    )
