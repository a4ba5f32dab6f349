"""A spool: the durable queue of one process's usage events, in a directory of its own."""

from __future__ import annotations

import errno
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from streamgauge.core.clock import Clock
from streamgauge.core.files import Directory, Lock
from streamgauge.core.ids import event_id
from streamgauge.core.journal import Journal, Position
from streamgauge.core.limits import (
    SPOOL_BACKLOG_EVENTS_MAX,
    SPOOL_BYTES_MAX,
    SPOOL_SEGMENT_BYTES_MAX,
)
from streamgauge.sdk.identity import Identity, Settled
from streamgauge.sdk.ledger import Ledger
from streamgauge.sdk.outbox import Outbox
from streamgauge.sdk.reader import read_events
from streamgauge.sdk.records import Draft, SpooledEvent, encode_record
from streamgauge.sdk.released import ReleasedMark
from streamgauge.sdk.reserve import Reserve
from streamgauge.sinks.base import Verdict

Billed = dict[tuple[bytes, int], int]
"""The highest ``end`` of any event, by page id and slot."""


class Spool:
    """Events from the moment they have an id until the sink has settled them.

    Args:
        directory: The spool's own.
        lock: Held for as long as this object lives.
        identity: Whose it is.
        clock: Says when events were spooled.
        bytes_max: How large the journal may grow.

    Raises:
        CorruptError: The checkpoint or a record is not what was written.
        OSError: The directory cannot be read.
    """

    def __init__(
        self,
        directory: Directory,
        lock: Lock,
        identity: Identity,
        *,
        clock: Clock,
        bytes_max: int = SPOOL_BYTES_MAX,
    ) -> None:
        self.directory = directory
        self.identity = identity
        self.journal = Journal(directory, segment_bytes_max=SPOOL_SEGMENT_BYTES_MAX)
        self.reserve = Reserve(directory)
        self.ledger = Ledger()
        self.billed: Billed = {}
        self.changed = threading.Condition(threading.RLock())
        self.oldest_ns: int | None = None
        self.head_ns = 0
        self.before_trim: Callable[[], None] = directory.sync
        self._lock = lock
        self._clock = clock
        self._bytes_max = bytes_max
        self._backlog: deque[Draft] = deque()
        self.closed = False
        self._deliverable = Position(0, 0)
        self._mark: ReleasedMark | None = None
        self._outbox = outbox = Outbox(directory, clock=clock, segments=self.journal.segments)
        self._number, self._sequence = outbox.checkpoint.delivered, outbox.checkpoint.sequence
        self._read_journal()

    @property
    def name(self) -> str:
        """Return the writer id."""
        return self.identity.writer_id

    @property
    def number(self) -> int:
        """Return the number of the newest event."""
        return self._number

    @property
    def delivered(self) -> int:
        """Return the number through which every event is settled."""
        return self._outbox.checkpoint.delivered

    @property
    def unwritten_bytes(self) -> int | None:
        """Return the bytes of events that are only in memory until the disk takes them, or None."""
        with self.changed:
            return sum(draft.quantity or 0 for draft in self._backlog) if self._backlog else None

    @property
    def idle(self) -> bool:
        """Return whether no event waits."""
        return self.ledger.pending_events == 0

    def accept(self, draft: Draft, *, in_memory: bool = True) -> str | None:
        """Take the event of a plain call; it survives the process when this returns.

        Args:
            draft: The event.
            in_memory: Keep it in memory, bounded, while the disk refuses it.

        Returns:
            None, or why the event was turned away or is only in memory for now.

        Raises:
            OSError: The disk refuses it, and it may not be in memory; nothing was changed.
        """
        with self.changed:
            full = len(self._backlog) >= SPOOL_BACKLOG_EVENTS_MAX or self._full()
            if full and not in_memory and not self.closed:
                raise OSError(errno.ENOSPC, "the spool is full")
            if self.closed or full:
                reason = "closed" if self.closed else "the spool is full"
                self.ledger.turn_away(draft.quantity, reason)
                return reason
            trouble = None
            try:
                self.write_backlog()
                self._write([draft])
            except OSError as error:
                if not in_memory:
                    raise
                self._backlog.append(draft)
                trouble = f"the spool cannot be written, the event is in memory: {error}"
            self.ledger.plain_bytes += draft.quantity or 0
            self.ledger.enter(draft.quantity)
            return trouble

    def turn_away(self, quantity: int, reason: str) -> None:
        """Count bytes that become no event, and why."""
        with self.changed:
            self.ledger.turn_away(quantity, reason)

    def close_for_plain_calls(self) -> None:
        """Turn away every further event of a plain call."""
        with self.changed:
            self.closed = True

    def append_all(self, drafts: Sequence[Draft], *, bounded: bool = True) -> None:
        """Write events to the journal, at once; they survive the process when this returns.

        Args:
            drafts: The events.
            bounded: Refuse them if the journal is as large as it may grow.

        Raises:
            OSError: It could not be written; nothing was changed.
        """
        with self.changed:
            if bounded and self._full():
                raise OSError(errno.ENOSPC, "the spool is full")
            self._write(drafts)
            for draft in drafts:
                self.ledger.enter(draft.quantity)

    def write_backlog(self) -> None:
        """Write the events that are in memory because the disk refused them.

        Raises:
            OSError: It still does.
        """
        with self.changed:
            while self._backlog:
                self._write([self._backlog[0]])
                self._backlog.popleft()

    def sync(self) -> Position:
        """Put all written events on disk and return the end of what is there; see ``release``.

        Raises:
            OSError: The disk refuses; the next call tries again.
        """
        return self.journal.sync()

    def publish(self) -> None:
        """Let another process deliver what is released; OSError: its mark cannot be made."""
        self._mark = ReleasedMark(self.directory)

    def release(self, until: Position) -> None:
        """Let the deliverer have what is before ``until``: on disk, and noted in its pages."""
        self._deliverable = until
        if self._mark is not None:
            self._mark.write(until)

    def batch(self, events_max: int) -> list[SpooledEvent]:
        """Return the oldest events that are ready for the sink."""
        batch = [] if self.idle else self._outbox.batch(self._deliverable, events_max)
        if batch:
            self.oldest_ns = self.head_ns = batch[0].spooled_at_ns
        return batch

    def settle(self, events: Sequence[SpooledEvent], verdicts: Mapping[str, Verdict]) -> int:
        """Note that the sink has answered for the oldest waiting ``events``; see ``Outbox``.

        Raises:
            OSError: Refused events could not be kept; nothing was settled.
        """
        before = self._outbox.checkpoint.settled
        removed = self.reserve.spend_on(lambda: self._outbox.settle(events, verdicts))
        self.head_ns = events[-1].spooled_at_ns
        self._note_settled(before)
        return removed

    def follow(self) -> None:
        """Learn what another process has settled of this spool.

        Raises:
            StreamgaugeError: Its checkpoint cannot be read.
            OSError: As above, says the system.
        """
        before = self._outbox.checkpoint.settled
        if self._outbox.reload():
            self._note_settled(before)
            self.batch(1)

    def trim(self) -> None:
        """Write a checkpoint, and only then remove what it makes needless.

        Raises:
            OSError: The disk refuses; the next call tries again.
        """
        cursor, spent = self._outbox.cursor, list[int]()
        if not self.journal.recovery.corrupt:
            spent = [number for number in self.journal.segments() if number < cursor.segment]
        if spent:
            # Also what another process wrote is on disk after this.
            self.before_trim()
        if spent:
            # Without a checkpoint nothing may be removed, and the disk would stay full.
            self.reserve.spend_on(self._outbox.write)
        else:
            self._outbox.write()
        for segment in spent:
            self.journal.remove(segment)
        self.reserve.hold()

    def close(self) -> None:
        """Release the files and then the lock; what waits is adopted by another process."""
        self.journal.close()
        self._outbox.close()
        if self._mark is not None:
            self._mark.close()
        self._lock.release()

    def abandon(self) -> None:
        """Drop the lock's descriptor in a process that was forked; the parent still holds it."""
        self._lock.release()

    def _full(self) -> bool:
        return self.journal.size_bytes() >= self._bytes_max

    def _write(self, drafts: Sequence[Draft]) -> None:
        number, sequence = self._number, self._sequence
        now_ns = self._clock.time_ns()
        records = []
        for draft in drafts:
            number += 1
            sequence += not draft.event_id
            event = SpooledEvent(
                number=number,
                sequence=0 if draft.event_id else sequence,
                event_id=(id := draft.event_id or event_id(self.identity.writer_id, sequence)),
                quantity=draft.quantity,
                spooled_at_ns=now_ns,
                body=draft.group.body(id, draft.timestamp_ns, draft.quantity, draft.layers),
                sources=draft.sources,
            )
            records.append(encode_record(event))
        self.journal.append_all(records)
        self._number, self._sequence = number, sequence
        if self.oldest_ns is None:
            self.oldest_ns = now_ns

    def _note_settled(self, before: Settled) -> None:
        with self.changed:
            self.ledger.settle(before, self._outbox.checkpoint.settled)
            if self.idle:
                self.oldest_ns = None
            self.changed.notify_all()

    def _read_journal(self) -> None:
        for event in read_events(self.journal):
            self._number = max(self._number, event.number)
            self._sequence = max(self._sequence, event.sequence)
            for source in event.sources:
                key = (source.page_id, source.slot)
                self.billed[key] = max(self.billed.get(key, 0), source.end)
            if event.number > self.delivered:
                self.ledger.enter(event.quantity)
                self.oldest_ns = min(self.oldest_ns or event.spooled_at_ns, event.spooled_at_ns)
