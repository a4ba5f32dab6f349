"""Sessions whose bytes wait for a proof: what was handed over and never arrived is not billed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamgauge import Ingestion
from streamgauge.core.memory import MemoryDirectory
from streamgauge.sdk.held import HeldSession, LockedHeldSession
from streamgauge.testing import MemorySink, assert_conserved

KINDS = (HeldSession, LockedHeldSession)


class Known:
    """A proof that knows what a test tells it."""

    def __init__(self, session: HeldSession) -> None:
        self.session = session
        self.arrived = 0
        self.asked = 0
        self.awaited = False
        session.evidence = self

    def refresh(self) -> None:
        self.asked += 1
        self.session.settle(self.arrived)

    def give_up(self) -> None:
        self.session.finish(self.arrived)


def billed(sink: MemorySink) -> int:
    return sum(event.bytes for event in sink.events)


@pytest.mark.parametrize("kind", KINDS)
def test_only_settled_bytes_are_in_events(stepped: Callable[..., Any], kind: Any) -> None:
    one = stepped(MemorySink())
    session = one.session(kind=kind)
    known = Known(session)
    session.add(1_000)
    known.arrived = 400
    one.clock.advance(60)
    one.engine.tick()
    session.add(500)
    one.deliver()
    assert (billed(one.sink), session.total) == (400, 1_500)
    assert one.stats().open_bytes == 1_100
    known.arrived = 1_200
    one.clock.advance(60)
    one.deliver()
    assert [event.metadata["bytes"] for event in one.sink.events] == [400, 600, 200]
    assert_conserved(one.stats())


@pytest.mark.parametrize("kind", KINDS)
def test_what_never_arrived_is_taken_back_across_windows(
    stepped: Callable[..., Any], kind: Any
) -> None:
    one = stepped(MemorySink())
    session = one.session(kind=kind)
    Known(session)
    for _ in range(3):
        session.add(1_000)
        one.clock.advance(60)
        one.deliver()
    session.finish(1_700)
    session.add(99)
    for _ in range(3):
        one.deliver()
    assert billed(one.sink) == 1_700 == one.stats().counted_bytes
    assert one.stats().open_bytes == 0
    assert_conserved(one.stats())


def test_a_total_above_what_was_added_is_made_up(stepped: Callable[..., Any]) -> None:
    one = stepped(MemorySink())
    session = one.session(kind=HeldSession)
    session.add(1_000)
    session.finish(1_100)
    one.clock.advance(60)
    one.deliver()
    assert billed(one.sink) == 1_100


def test_a_slot_that_waits_is_given_to_nobody_else(stepped: Callable[..., Any]) -> None:
    one = stepped(MemorySink())
    first = one.session(kind=HeldSession)
    first.add(1_000)
    second = one.session()
    second.add(10)
    first.finish(300)
    third = one.session()
    third.add(5)
    one.clock.advance(60)
    one.deliver()
    assert billed(one.sink) == 315
    assert_conserved(one.stats())


def test_a_held_session_that_nobody_ends_bills_what_was_counted(
    stepped: Callable[..., Any],
) -> None:
    one = stepped(MemorySink())
    session = one.session(kind=HeldSession)
    session.add(1_000)
    del session
    one.clock.advance(60)
    one.deliver()
    assert billed(one.sink) == 1_000


def test_a_process_that_is_killed_bills_what_was_counted(stepped: Callable[..., Any]) -> None:
    root = MemoryDirectory()
    killed = stepped(MemorySink(), root)
    session = killed.session(kind=HeldSession)
    session.add(1_000)
    session.settle(600)
    killed.clock.advance(60)
    killed.engine.tick()
    killed.engine.spool.close()
    heir = stepped(killed.sink, root)
    heir.engine.adopt()
    heir.deliver()
    assert billed(heir.sink) == 1_000


def test_an_end_of_the_process_takes_the_last_word_of_the_proof(
    stepped: Callable[..., Any],
) -> None:
    one = stepped(MemorySink())
    session = one.session(kind=HeldSession)
    known = Known(session)
    session.add(1_000)
    known.arrived = 900
    one.engine.stop_counting()
    one.deliver()
    assert billed(one.sink) == 900
    assert_conserved(one.stats())


def test_layers_are_told_beside_the_bytes_of_the_same_event(
    spool_dir: Path, ingest: Callable[..., Ingestion], sink: MemorySink
) -> None:
    ingestion = ingest()
    session = ingestion.held_session(customer_id="ada", layers=("http", "wire"))
    session.add(1_000)
    session.sides["http"].add(1_100)
    session.sides["wire"].add(1_250)
    session.finish(1_000)
    assert ingestion.flush()
    (event,) = sink.events
    assert event.metadata == {"bytes": 1_000, "sg_http_bytes": 1_100, "sg_wire_bytes": 1_250}
    assert ingestion.stats().acknowledged_bytes == 1_000 == ingestion.stats().counted_bytes


def test_an_heir_tells_the_layers_too(stepped: Callable[..., Any]) -> None:
    root = MemoryDirectory()
    killed = stepped(MemorySink(), root)
    main = killed.session(kind=HeldSession)
    side = killed.session(kind=HeldSession)
    side.descriptor = side.group.of_layer("wire").descriptor()
    main.add(1_000)
    side.add(1_300)
    killed.engine.spool.close()
    heir = stepped(killed.sink, root)
    heir.engine.adopt()
    heir.deliver()
    (event,) = heir.sink.events
    assert event.metadata == {"bytes": 1_000, "sg_wire_bytes": 1_300}


def test_metadata_may_not_hold_what_is_counted(ingest: Callable[..., Ingestion]) -> None:
    with pytest.raises(ValueError, match="sg_wire_bytes"):
        ingest().held_session(customer_id="a", metadata={"sg_wire_bytes": 1}, layers=("wire",))


steps = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 5_000)),
    st.tuples(st.just("settle"), st.integers(0, 20_000)),
    st.tuples(st.just("window"), st.just(60)),
    st.tuples(st.just("tick"), st.booleans()),
)


@given(
    actions=st.lists(steps, max_size=40), final=st.integers(0, 30_000), kind=st.sampled_from(KINDS)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_interleaving_bills_what_is_settled_or_final(
    stepped: Callable[..., Any], actions: list[tuple[str, Any]], final: int, kind: Any
) -> None:
    one = stepped(MemorySink())
    session, neighbour = one.session(kind=kind), one.session()
    settled = added = 0
    for action, value in actions:
        if action == "add":
            session.add(value)
            added += value
        elif action == "settle":
            session.settle(value)
            settled = max(settled, min(value, added))
        elif action == "window":
            one.clock.advance(value)
            neighbour.add(1)
        else:
            one.engine.tick(cut_open=value)
        assert_conserved(one.stats())
    session.finish(final)
    for _ in range(3):
        one.clock.advance(60)
        one.deliver()
    assert billed(one.sink) == max(final, settled) + neighbour.total
    assert_conserved(one.stats())
    assert one.stats().open_bytes == 0


def test_a_client_that_takes_nothing_more_keeps_no_other_from_delivery_at_the_end(
    streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> None:
    session = streamgauge_ingestion.held_session(customer_id="stalled")
    known = Known(session)
    session.add(1_000)
    known.arrived, known.awaited = 400, True
    streamgauge_ingestion.track(customer_id="ann", bytes=7)
    assert streamgauge_ingestion.close(1.0)
    assert streamgauge_sink.bytes_by_customer() == {"ann": 7, "stalled": 400}
