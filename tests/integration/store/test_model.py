"""The model in Python and the engine agree on random meters and events, however they arrive."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamgauge.core.clock import iso
from streamgauge.core.events import UsageEvent
from streamgauge.core.metadata import canonical, canonical_mapping
from streamgauge.server.metering import model
from streamgauge.server.metering.filters import ORDERINGS, Condition, Conjunction, Filter, Operator
from streamgauge.server.metering.meter import Aggregation, AggregationType, Meter
from streamgauge.server.store import Bucket
from tests.integration.store.conftest import Shelf

START = datetime(2026, 1, 30, tzinfo=UTC)
DAYS = 32
END = START + timedelta(days=DAYS)
NAMES = itertools.count(1)
SEGMENTS = itertools.count(1)
TEXTS = ("hd", "sd", "5", "")
NUMBERS = (0, 5, -3, 2**64, 10**38 - 1, Decimal("0.000000000001"), Decimal("5.25"))
KEYS = ("bytes", "quality", "it's")


@pytest.fixture(scope="module")
def shelf(new_dsn: Callable[[], str]) -> Iterator[Shelf]:
    opened = Shelf(new_dsn())
    yield opened
    opened.remove()


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    operator = draw(st.sampled_from(Operator))
    contains = operator in {Operator.CONTAINS, Operator.DOES_NOT_CONTAIN}
    asked = draw(st.sampled_from(TEXTS if contains else (*TEXTS, *NUMBERS)))
    if not contains and operator not in ORDERINGS:
        asked = draw(st.sampled_from((asked, True)))
    key = draw(st.sampled_from(KEYS))
    return Condition(key=key, operator=operator, value=canonical(asked))


def filters(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    clauses = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.builds(Filter, conjunction=st.sampled_from(Conjunction), clauses=clauses)


THREE_LEVELS = filters(conditions() | filters(conditions() | filters(conditions())))
KINDS = st.tuples(st.sampled_from(AggregationType), st.sampled_from(KEYS), st.none() | THREE_LEVELS)
EVENTS = st.tuples(
    st.sampled_from(("a", "b")),
    st.integers(-1, DAYS * 24 * 60).map(
        lambda minute: START + timedelta(minutes=minute, seconds=7)
    ),
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from((*TEXTS, *NUMBERS, True)), max_size=3),
)
STEPS = st.lists(
    st.lists(EVENTS, min_size=1, max_size=8) | KINDS | st.sampled_from(("replay", "reopen")),
    min_size=2,
    max_size=8,
)


class Story:
    """One event name, the events it has, and the meters over it."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.name = f"stream {next(NAMES)}"
        self.meters: list[Meter] = []
        self.segments: dict[int, list[dict[str, Any]]] = {}
        self.events: list[UsageEvent] = []

    def add_meter(self, kind: AggregationType, key: str, filter: Filter | None) -> None:
        meter = Meter(
            id=f"mtr_{len(self.meters)}",
            business_id="bus_1",
            mode="test_mode",
            name="m",
            event_name=self.name,
            measurement_unit="byte",
            aggregation=Aggregation(type=kind, key=None if kind == "count" else key),
            filter=filter,
            created_at=START,
            updated_at=START,
        )
        self.meters.append(meter)
        self.shelf.roll_up(meter, (max(self.segments, default=0) << 32) + 2**32 - 1)

    def add_events(self, given: list[Any]) -> None:
        segment = next(SEGMENTS)
        made = [
            UsageEvent(
                event_id=f"{segment}-{place}",
                customer_id=customer,
                event_name=self.name,
                timestamp=at,
                metadata=canonical_mapping(metadata),
            )
            for place, (customer, at, metadata) in enumerate(given)
        ]
        self.events += made
        self.segments[segment] = [
            msgspec.structs.asdict(event)
            | {"timestamp": iso(event.timestamp), "received_at": iso(START)}
            | {"business_id": "bus_1", "mode": "test_mode"}
            for event in made
        ]
        self.shelf.insert(segment, *self.segments[segment])

    def replay(self) -> None:
        for segment, rows in self.segments.items():
            self.shelf.insert(segment, *rows)

    def check(self, meter: Meter, **asked: Any) -> None:
        whole = {"start": START, "end": END} | asked
        assert self.shelf.store.is_rolled_up(meter)
        for row in self.shelf.both_ways(meter, **whole):
            events = [
                event
                for event in self.events
                if row.customer_id in {"", event.customer_id}
                and whole["start"] <= event.timestamp < whole["end"]
                and (row.bucket is None or event.timestamp.date() == row.bucket.date())
            ]
            expected = model.measure(meter, events)
            assert (row.quantity, row.events, row.not_counted) == (
                expected.quantity,
                expected.events,
                expected.not_counted,
            )


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS, last=KINDS)
def test_usage_is_what_the_model_says(shelf: Shelf, steps: list[Any], last: Any) -> None:
    story = Story(shelf)
    for step in [*steps, last]:
        if step == "replay":
            story.replay()
        elif step == "reopen":
            shelf.reopen()
        elif isinstance(step, list):
            story.add_events(step)
        else:
            story.add_meter(*step)
    story.replay()

    for meter in story.meters:
        story.check(meter)
        story.check(meter, by_customer=False)
        story.check(meter, bucket=Bucket.DAY)
        story.check(meter, start=START + timedelta(hours=5), end=END - timedelta(minutes=7))
