"""The way out of a spool: waiting events in order, from disk, and what became of them.

A spool's journal is written by its own process, its checkpoint and its dead letters by the one that
delivers: whoever holds the role (``sdk.election``), or has adopted the spool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from streamgauge.core.clock import Clock
from streamgauge.core.files import Directory
from streamgauge.core.journal import Position
from streamgauge.core.limits import DELIVERY_BYTES_MAX
from streamgauge.sdk.dead_letters import DeadLetters
from streamgauge.sdk.identity import (
    HELD_NAME,
    Checkpoint,
    Settled,
    read_checkpoint,
    write_checkpoint,
)
from streamgauge.sdk.reader import read_between
from streamgauge.sdk.records import DeadLetter, SpooledEvent, decode_event
from streamgauge.sinks.base import Late, Verdict


class Outbox:
    """A cursor over the journal of a spool; used by one thread at a time.

    Args:
        directory: The spool's.
        clock: Says when events were refused.
        segments: Gives those of the journal; without it, what is in the directory.

    Raises:
        ConfigurationError: A newer version wrote the checkpoint.
        CorruptError: It is no checkpoint.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        clock: Clock,
        segments: Callable[[], list[int]] | None = None,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._segments = segments
        self._places: dict[int, Position] = {}
        self.dead_letters = DeadLetters(directory)
        self.held = DeadLetters(directory, HELD_NAME, keeps_all=True)
        self.checkpoint = self.written = read_checkpoint(directory)

    @property
    def cursor(self) -> Position:
        """Return where the last settled event is."""
        return Position(self.checkpoint.segment, self.checkpoint.offset)

    def batch(self, until: Position, events_max: int) -> list[SpooledEvent]:
        """Return the oldest waiting events before ``until``, no id twice, at least one if any."""
        self._places.clear()
        batch: list[SpooledEvent] = []
        ids: set[str] = set()
        size_bytes = 0
        for position, event in self._waiting(until):
            size_bytes += len(event.body)
            if batch and (len(batch) == events_max or size_bytes > DELIVERY_BYTES_MAX):
                break
            if event.event_id in ids:
                break
            ids.add(event.event_id)
            self._places[event.number] = position
            batch.append(event)
        return batch

    def settle(self, events: Sequence[SpooledEvent], verdicts: Mapping[str, Verdict]) -> int:
        """Note that the sink has answered for the oldest waiting ``events``.

        Args:
            events: In order.
            verdicts: What is to be said of some, by event id; all others were taken as they are.

        Returns:
            How many segments of older dead letters had to go.

        Raises:
            OSError: Refused events could not be kept; nothing was settled.
        """
        now_ns = self._clock.time_ns()
        letters, held = list[DeadLetter](), list[DeadLetter]()
        for event in events:
            verdict = verdicts.get(event.event_id, Verdict())
            if verdict.refused is not None:
                letter = DeadLetter(event=event, reason=verdict.refused, refused_at_ns=now_ns)
                (held if verdict.late is Late.HELD else letters).append(letter)
        if held:
            self.held.keep(held)
        removed = self.dead_letters.keep(letters) if letters else 0
        last = events[-1]
        place = self._places.get(last.number, self.cursor)
        self.checkpoint = Checkpoint(
            delivered=last.number,
            sequence=max(self.checkpoint.sequence, *(event.sequence for event in events)),
            segment=place.segment,
            offset=place.offset,
            settled=_added(self.checkpoint.settled, events, verdicts),
        )
        return removed

    def write(self) -> None:
        """Put the checkpoint on disk, if it is another than that there.

        Raises:
            OSError: The disk refuses.
        """
        if self.checkpoint != self.written:
            write_checkpoint(self._directory, self.checkpoint)
            self.written = self.checkpoint

    def reload(self) -> bool:
        """Take the checkpoint that another process wrote; return whether it is a later one.

        Raises:
            ConfigurationError: A newer version wrote it.
            CorruptError: It is no checkpoint.
            OSError: It cannot be read.
        """
        found = read_checkpoint(self._directory)
        is_later = found.delivered > self.checkpoint.delivered
        if is_later:
            self.checkpoint = self.written = found
        return is_later

    def close(self) -> None:
        """Release the files."""
        self.dead_letters.close()
        self.held.close()

    def _waiting(self, until: Position) -> Iterator[tuple[Position, SpooledEvent]]:
        last = self.checkpoint.delivered
        segments = None if self._segments is None else self._segments()
        for position, record in read_between(self._directory, self.cursor, until, segments):
            event = decode_event(record)
            # A segment whose sync failed has copies of what follows in the next one.
            if event.number > last:
                last = event.number
                yield position, event


def _added(
    sums: Settled, events: Sequence[SpooledEvent], verdicts: Mapping[str, Verdict]
) -> Settled:
    added = msgspec.structs.asdict(sums)
    for event in events:
        quantity, verdict = event.quantity or 0, verdicts.get(event.event_id, Verdict())
        kind = "acknowledged" if verdict.refused is None else "refused"
        added[f"{kind}_events"] += 1
        added[f"{kind}_bytes"] += quantity
        if verdict.late is Late.HELD:
            added["held_bytes"] += quantity
        elif verdict.late is not None:
            added["restamped_bytes"] += quantity
        if verdict.late is Late.CROSSED:
            added["crossed_bytes"] += quantity
    return Settled(**added)
