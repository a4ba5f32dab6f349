"""A sink that keeps events in memory and behaves as a server does, also when it fails."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from streamgauge.core.events import BYTES_KEY
from streamgauge.core.metadata import Scalar, canonical_raw, parse
from streamgauge.sinks.base import BatchRefusedError, Delivered, Outgoing, Refusal, RetryLaterError


class ReceivedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it arrived, with metadata as Python values.

    Attributes:
        event_id: Unique here, as on a server.
        customer_id: Who pays.
        event_name: What a meter matches.
        timestamp: When it was used, in UTC.
        metadata: Exact values: integers as int, decimals as Decimal.
    """

    event_id: str
    customer_id: str
    event_name: str
    timestamp: datetime
    metadata: dict[str, Scalar]

    @property
    def bytes(self) -> int:
        """Return the measured bytes; 0 for an event without quantity."""
        quantity = self.metadata.get(BYTES_KEY, 0)
        assert isinstance(quantity, int), "the SDK sends bytes as integers"
        return quantity


class _Wire(msgspec.Struct):
    event_id: str
    customer_id: str
    event_name: str
    timestamp: datetime
    metadata: dict[str, msgspec.Raw] = {}


_DECODER = msgspec.json.Decoder(_Wire)


class MemorySink:
    """Keeps each event once, by its id; fails as it is told to. Safe from any thread.

    It is private: what it keeps is in this process, so no other delivers to it.

    Args:
        destination: The name that a spool remembers.
    """

    is_private = True

    def __init__(self, destination: str = "memory") -> None:
        self._destination = destination
        self._condition = threading.Condition()
        self._events: dict[str, ReceivedEvent] = {}
        self._failures: deque[tuple[Exception, bool]] = deque()
        self._refuse: Callable[[ReceivedEvent], str | None] = _refuse_none
        self.deliveries = 0
        """How many batches were offered, failed ones included."""
        self.repeats = 0
        """How many events came again after they had been kept."""
        self.is_closed = False

    @property
    def destination(self) -> str:
        """Return the name given."""
        return self._destination

    @property
    def events(self) -> list[ReceivedEvent]:
        """Return what was kept, in order of arrival."""
        with self._condition:
            return list(self._events.values())

    def bytes_by_customer(self) -> dict[str, int]:
        """Return the sum of bytes per customer."""
        totals: defaultdict[str, int] = defaultdict(int)
        for event in self.events:
            totals[event.customer_id] += event.bytes
        return dict(totals)

    def total_bytes(self) -> int:
        """Return the sum of bytes of all events."""
        return sum(event.bytes for event in self.events)

    def fail_next(self, *errors: Exception) -> None:
        """Raise these, one per delivery, and keep nothing of those batches."""
        with self._condition:
            self._failures.extend((error, False) for error in errors)

    def lose_next_answer(self, times: int = 1) -> None:
        """Keep the next batches but raise, as when the connection breaks before the answer."""
        with self._condition:
            lost = RetryLaterError("the answer was lost")
            self._failures.extend([(lost, True)] * times)

    def refuse(self, reason_for: Callable[[ReceivedEvent], str | None]) -> None:
        """Refuse, from now on, batches with an event for which a reason is returned."""
        with self._condition:
            self._refuse = reason_for

    def deliver(self, batch: Sequence[Outgoing]) -> Delivered:
        """Keep every event that is new."""
        received = [_decode(outgoing) for outgoing in batch]
        with self._condition:
            self.deliveries += 1
            error, keep = self._failures.popleft() if self._failures else (None, True)
            if error is not None and not keep:
                raise error
            self._check(received)
            for event in received:
                self.repeats += event.event_id in self._events
                self._events.setdefault(event.event_id, event)
            self._condition.notify_all()
            if error is not None:
                raise error
        return Delivered(acknowledged=tuple(outgoing.event_id for outgoing in batch))

    def wait_for_events(self, count: int, timeout_s: float = 10.0) -> list[ReceivedEvent]:
        """Return the events once there are ``count`` of them.

        Raises:
            TimeoutError: There are fewer after ``timeout_s``.
        """
        with self._condition:
            if not self._condition.wait_for(lambda: len(self._events) >= count, timeout_s):
                raise TimeoutError(f"{len(self._events)} of {count} events came")
            return list(self._events.values())

    def close(self) -> None:
        """Note that it was closed; events stay readable."""
        self.is_closed = True

    def _check(self, received: Sequence[ReceivedEvent]) -> None:
        reasons = [(event.event_id, self._refuse(event)) for event in received]
        guilty = tuple(Refusal(event_id=id, reason=reason) for id, reason in reasons if reason)
        if guilty:
            raise BatchRefusedError("the batch holds refused events", guilty)


def _decode(outgoing: Outgoing) -> ReceivedEvent:
    wire = _DECODER.decode(outgoing.body)
    assert wire.event_id == outgoing.event_id, "the body is another event's"
    return ReceivedEvent(
        event_id=wire.event_id,
        customer_id=wire.customer_id,
        event_name=wire.event_name,
        timestamp=wire.timestamp,
        metadata={
            key: parse(canonical_raw(bytes(raw).decode())) for key, raw in wire.metadata.items()
        },
    )


def _refuse_none(_event: ReceivedEvent) -> str | None:
    return None
