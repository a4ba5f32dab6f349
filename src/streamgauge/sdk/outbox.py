"""The way out of a spool: waiting events in order, from disk, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator

from streamgauge.core.journal import Journal, Position
from streamgauge.sdk.records import SpooledEvent, decode_event


class Outbox:
    """A cursor over a spool's journal; used by one thread at a time.

    Args:
        journal: The spool's.
        delivered: The number through which every event is settled.
    """

    def __init__(self, journal: Journal, delivered: int) -> None:
        self._journal = journal
        self.delivered = delivered
        self._cursor = Position(0, 0)
        self._places: dict[int, Position] = {}

    def batch(self, until: Position, events_max: int, bytes_max: int) -> list[SpooledEvent]:
        """Return the oldest waiting events before ``until``, no id twice, at least one if any."""
        self._places.clear()
        batch: list[SpooledEvent] = []
        ids: set[str] = set()
        size_bytes = 0
        for position, event in self._waiting(until):
            size_bytes += len(event.body)
            if batch and (len(batch) == events_max or size_bytes > bytes_max):
                break
            if event.event_id in ids:
                break
            ids.add(event.event_id)
            self._places[event.number] = position
            batch.append(event)
        return batch

    def settle(self, number: int) -> None:
        """Note that every event through ``number`` is settled."""
        self.delivered = number
        self._cursor = self._places.get(number, self._cursor)

    def spent_segments(self) -> list[int]:
        """Return the sealed segments that hold nothing but settled events, oldest first."""
        return [number for number in self._journal.segments() if number < self._cursor.segment]

    def _waiting(self, until: Position) -> Iterator[tuple[Position, SpooledEvent]]:
        for segment in self._journal.segments():
            if segment < self._cursor.segment or segment > until.segment:
                continue
            offset = self._cursor.offset if segment == self._cursor.segment else 0
            for position, record in self._journal.read(segment, offset):
                if position >= until:
                    return
                event = decode_event(record)
                if event.number > self.delivered:
                    yield position, event
