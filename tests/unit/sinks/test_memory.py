from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from streamgauge.core.clock import utc
from streamgauge.core.events import UsageEvent, encode_event
from streamgauge.core.metadata import canonical_mapping
from streamgauge.sinks.base import AuthError, BatchRefusedError, Outgoing, RetryLaterError
from streamgauge.sinks.memory import MemorySink, ReceivedEvent

Event = Callable[..., Outgoing]


def test_an_id_is_kept_once_and_acknowledged_every_time(event: Event) -> None:
    sink = MemorySink()
    for _ in range(2):
        assert sink.deliver([event("a-0", 5)]).acknowledged == ("a-0",)
    sink.deliver([event("a-1", 6, "customer_2"), event("a-2", 7)])
    assert [received.event_id for received in sink.events] == ["a-0", "a-1", "a-2"]
    assert sink.bytes_by_customer() == {"customer_1": 12, "customer_2": 6}
    assert sink.total_bytes() == 18
    assert (sink.deliveries, sink.repeats) == (3, 1)


def test_metadata_comes_back_exact() -> None:
    given = {"bytes": 2**60 + 1, "rate": Decimal("0.000000000001"), "live": True, "q": 'h"d'}
    sent = UsageEvent(
        event_id="a-0",
        customer_id="c",
        event_name="n",
        timestamp=utc(1_700_000_000_123_456_000),
        metadata=canonical_mapping(given),
    )
    sink = MemorySink()
    sink.deliver([Outgoing(event_id="a-0", body=encode_event(sent), quantity=None)])
    (received,) = sink.events
    assert received.metadata == given
    assert received.bytes == 2**60 + 1
    assert received.timestamp == sent.timestamp


def test_it_fails_as_told_in_order_then_works(event: Event) -> None:
    sink = MemorySink()
    sink.fail_next(RetryLaterError("down", 3), AuthError("no"))
    with pytest.raises(RetryLaterError, match="down"):
        sink.deliver([event("a-0")])
    with pytest.raises(AuthError):
        sink.deliver([event("a-0")])
    assert sink.events == []
    sink.deliver([event("a-0")])
    assert len(sink.events) == 1


def test_a_lost_answer_leaves_the_events_behind(event: Event) -> None:
    sink = MemorySink()
    sink.lose_next_answer()
    with pytest.raises(RetryLaterError, match="lost"):
        sink.deliver([event("a-0")])
    assert sink.deliver([event("a-0")]).acknowledged == ("a-0",)
    assert (len(sink.events), sink.repeats) == (1, 1)


def test_a_refused_event_refuses_its_batch_and_is_named(event: Event) -> None:
    def blocked(received: ReceivedEvent) -> str | None:
        return "blocked" if received.customer_id == "bad" else None

    sink = MemorySink()
    sink.refuse(blocked)
    with pytest.raises(BatchRefusedError) as caught:
        sink.deliver([event("a-0"), event("a-1", 1, "bad")])
    assert [(guilty.event_id, guilty.reason) for guilty in caught.value.guilty] == [
        ("a-1", "blocked")
    ]
    assert sink.events == []
    sink.deliver([event("a-0")])
    assert len(sink.events) == 1


def test_waiting_for_events_that_do_not_come_ends(event: Event) -> None:
    sink = MemorySink()
    sink.deliver([event("a-0")])
    assert len(sink.wait_for_events(1)) == 1
    with pytest.raises(TimeoutError, match="1 of 2"):
        sink.wait_for_events(2, timeout_s=0.01)
