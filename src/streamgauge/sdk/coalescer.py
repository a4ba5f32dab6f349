"""The coalescer: one event per group and window out of many counts, each byte in exactly one.

The order of ``tick`` is what a crash at any step relies on: read the slots, append the events,
sync the journal, advance the slots' base, and only then let the deliverer have the events.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator

from streamgauge.core.clock import Clock
from streamgauge.core.limits import GROUPS_CLOSED_AT_ONCE, OPEN_GROUPS_MAX
from streamgauge.sdk.groups import Group
from streamgauge.sdk.notices import Notices
from streamgauge.sdk.records import Draft, drafts
from streamgauge.sdk.session import StreamSession
from streamgauge.sdk.spool import Spool
from streamgauge.sdk.tally import Proof, Slot, Tally, TallyFullError, nobody
from streamgauge.sdk.windows import Windows


class Bucket:
    """The slots of one group in one window; idle ones are taken up by the group's next session."""

    __slots__ = ("group", "idle", "quiet_ticks", "slots")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.slots: list[Slot] = []
        self.idle: dict[str, list[Slot]] = {}
        self.quiet_ticks = 0

    def proofs(self) -> Iterator[Proof]:
        """Yield who knows more of bytes that are held back."""
        for slot in tuple(self.slots):
            holder = slot.holder() if slot.sure is not None else None
            if holder is not None and holder.proof is not None:
                yield holder.proof

    def close(self) -> None:
        """Make every session that counts here go on in another window."""
        # One tick more than others is quiet: what a session adds while it lets go is still read.
        self.quiet_ticks = -1
        for slot in self.slots:
            slot.is_open = False
            holder = slot.holder()
            if holder is not None:
                holder.detach()

    def drafts(self) -> list[Draft]:
        """Return an event of all bytes that are in none yet; several if they are too many."""
        fresh = (slot.unspooled() for slot in self.slots)
        return list(drafts(self.group, (stretch for stretch in fresh if stretch)))

    def mark_spooled(self, draft: Draft) -> None:
        """Note which bytes are in an event now."""
        self.quiet_ticks = 0
        ends = {(source.page_id, source.slot): source.end for source in draft.sources}
        for slot in self.slots:
            slot.spooled = ends.get((slot.page.page_id, slot.index), slot.spooled)


class Coalescer:
    """Slots for sessions, and events out of slots.

    Args:
        tally: Where slots are.
        spool: Where events go.
        clock: Says which window it is.
        window_s: Length of a window in seconds.
        notices: Told of bytes that come after the end.
    """

    def __init__(
        self, tally: Tally, spool: Spool, *, clock: Clock, window_s: int, notices: Notices
    ) -> None:
        self._tally = tally
        self._spool = spool
        self._clock = clock
        self._windows = Windows(clock, window_s)
        self._notices = notices
        self._lock = threading.RLock()
        self._tick_lock = threading.RLock()
        self._open: dict[tuple[int, bytes], Bucket] = {}
        self._closing: list[Bucket] = []
        # With bytes in events that are not known to be on disk.
        self._unsynced: set[Bucket] = set()
        self._given_back: deque[Slot] = deque()
        self._retired_bytes = 0
        self.closed = False

    def attach(self, session: StreamSession, n: int) -> None:
        """Count ``n`` bytes of ``session`` in a slot of the current window, and give it that."""
        with self._lock:
            if session.add_here(n):
                return
            goes_on = session.total > 0
            slot = self._slot_or_refuse(session.group, session.descriptor, n, goes_on=goes_on)
            if slot is None:
                session.count_late(n)
                return
            slot.holder = weakref.ref(session)
            session.attach(slot, n)

    def add(self, group: Group, n: int) -> None:
        """Count ``n`` bytes of a plain call."""
        with self._lock:
            slot = self._slot_or_refuse(group, group.descriptor(), n, goes_on=False)
            if slot is not None:
                slot.cell[0] += n
                slot.idle.append(slot)

    def give_back(self, slot: Slot) -> None:
        """Take a slot that its session has let go; from any thread, without waiting."""
        self._given_back.append(slot)

    def tick(self, *, cut_open: bool = False) -> None:
        """Make events of what was counted in windows that are over, and of open ones if asked.

        Raises:
            OSError: The disk refuses; what is not in events stays as it was and the next call
                tries again, until then windows do not end.
        """
        with self._tick_lock:
            try:
                self._make_events(cut_open=cut_open)
            except OSError:
                self._windows.are_wide = True
                raise
            self._windows.are_wide = False

    def on_the_way(self) -> bool:
        """Return whether bytes of streams that have ended may still arrive; asks once more."""
        with self._lock:
            buckets = [*self._closing, *self._open.values()]
        return any(proof.awaited for proof in _refresh(buckets))

    def close(self) -> None:
        """Make events of everything; what sessions add from now on is turned away and counted.

        Raises:
            OSError: The disk refuses; what is not in events stays in the pages, to be adopted.
        """
        with self._lock:
            self.closed = True
            self._spool.close_for_plain_calls()
        self.tick()
        for proof in [proof for bucket in self._closing for proof in bucket.proofs()]:
            proof.give_up()
        self.tick()

    def totals(self) -> tuple[int, int]:
        """Return the bytes counted in slots so far, and of these the bytes that are in no event."""
        counted, open_ = self._retired_bytes, 0
        for bucket in [*self._open.values(), *self._closing]:
            for slot in bucket.slots:
                if not slot.layer:
                    count = slot.cell[0]
                    counted += count
                    open_ += count - slot.spooled
        return counted, open_

    def locked(self) -> threading.RLock:
        """Return the lock under which slots, events and totals agree."""
        return self._lock

    def forget(self) -> None:
        """Send every session back to zero, in a process that was forked."""
        for bucket in [*self._open.values(), *self._closing]:
            for slot in bucket.slots:
                holder = slot.holder()
                if holder is not None:
                    holder.forget()

    def _make_events(self, *, cut_open: bool) -> None:
        self._close_windows()
        trouble: OSError | None = None
        drafted = [*self._closing]
        if cut_open:
            with self._lock:
                drafted += self._open.values()
        _refresh(drafted)
        try:
            self._spool.write_backlog()
            for bucket in drafted:
                self._spool_bucket(bucket)
        except OSError as error:
            # What was written before it goes on its way.
            trouble = error
        until = self._spool.sync()
        for bucket in self._unsynced:
            for slot in bucket.slots:
                slot.advance()
        self._unsynced.clear()
        self._spool.release(until)
        self._retire()
        if trouble is not None:
            raise trouble

    def _slot_or_refuse(
        self, group: Group, descriptor: bytes, n: int, *, goes_on: bool
    ) -> Slot | None:
        reason = "closed"
        if not self.closed:
            try:
                return self._slot(group, descriptor, goes_on=goes_on)
            except TallyFullError:
                reason = "no room for another group"
        self._spool.turn_away(n, reason)
        self._notices.tell("refused", f"{n} bytes were added and are not billed: {reason}")
        return None

    def _slot(self, group: Group, descriptor: bytes, *, goes_on: bool) -> Slot:
        self._take_back()
        now_ns = self._clock.time_ns()
        start_ns = self._windows.start_ns()
        whole = group.of_layer("")
        key = (start_ns, descriptor if whole is group else whole.descriptor())
        bucket = self._open.get(key)
        idle = bucket.idle.setdefault(group.layer, []) if bucket is not None else []
        if idle:
            return idle.pop()
        if bucket is None and len(self._open) >= OPEN_GROUPS_MAX:
            self._close_early()
        slot = self._tally.open_slot(start_ns, start_ns if goes_on else now_ns, descriptor)
        if bucket is None:
            bucket = self._open[key] = Bucket(whole)
            bucket.idle[group.layer] = idle
        slot.layer = group.layer
        slot.idle = idle
        bucket.slots.append(slot)
        return slot

    def _take_back(self) -> None:
        while self._given_back:
            slot = self._given_back.popleft()
            if slot.is_open:
                slot.holder = nobody
                slot.idle.append(slot)

    def _close_windows(self) -> None:
        with self._lock:
            start_ns = self._windows.start_ns()
            self._take_back()
            over = [key for key in self._open if self.closed or key[0] != start_ns]
        for key in over:
            with self._lock:
                self._close_window(key)

    def _close_early(self) -> None:
        """Close the windows that are open longest, when there are too many groups at once."""
        oldest = list(itertools.islice(self._open, GROUPS_CLOSED_AT_ONCE))
        for key in oldest:
            self._close_window(key)
        self._notices.tell(
            "groups",
            f"more than {OPEN_GROUPS_MAX} groups of customer and metadata are open: windows "
            "close early, so there are more events; is there a careless metadata key?",
        )

    def _close_window(self, key: tuple[int, bytes]) -> None:
        # In one of the two at every instant: a fork may come at any.
        bucket = self._open[key]
        bucket.close()
        self._closing.append(bucket)
        del self._open[key]

    def _spool_bucket(self, bucket: Bucket) -> None:
        with self._lock:
            drafts = bucket.drafts()
            if not drafts and all(slot.sure is None for slot in bucket.slots):
                bucket.quiet_ticks += 1
            for draft in drafts:
                self._spool.append(draft)
                bucket.mark_spooled(draft)
                self._unsynced.add(bucket)

    def _retire(self) -> None:
        """Give up the slots of windows that were over, and quiet, for a whole tick."""
        with self._lock:
            done = [bucket for bucket in self._closing if bucket.quiet_ticks > 0]
            self._closing = [bucket for bucket in self._closing if bucket.quiet_ticks <= 0]
            for slot in (slot for bucket in done for slot in bucket.slots):
                self._retired_bytes += 0 if slot.layer else slot.cell[0]
                self._tally.retire(slot)


def _refresh(buckets: Iterable[Bucket]) -> list[Proof]:
    """Ask who knows more of bytes that are held back, each once; no lock is held meanwhile."""
    proofs = {id(proof): proof for bucket in buckets for proof in bucket.proofs()}
    for proof in proofs.values():
        proof.refresh()
    return [*proofs.values()]
