from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamgauge.core.events import UsageEvent
from streamgauge.core.metadata import Scalar, canonical, canonical_mapping
from streamgauge.server.metering import model
from streamgauge.server.metering.compile import clause, condition, literal, over_events
from streamgauge.server.metering.filters import (
    ORDERINGS,
    Condition,
    Conjunction,
    Filter,
    Operator,
)
from streamgauge.server.metering.meter import Aggregation, AggregationType, Meter

Query = Callable[[str], list[list[Any]]]

AT = datetime(2026, 3, 1, tzinfo=UTC)
KEYS = ("bytes", "quality", "it's", "back\\slash", "{k:String}", "100%", "naïve")
TEXTS = (
    *("5", "5.0", "", "true", "1080p", "1080", 'say "hi"', "a\\n", "a\nb", "n", "é", "😀", "\x00"),
    *("it's", "%s", "{p:String}", "z" * 500, "a", "a!", "ab", "B"),
)
NUMBERS = (
    *(0, 5, -5, 2**53 + 1, 2**64 - 1, 10**38 - 1, -(10**38) + 1),
    *(
        Decimal("0.000000000001"),
        Decimal("-0.5"),
        Decimal("5.25"),
        Decimal(10**26) - Decimal("0.5"),
    ),
)
SCALARS = st.sampled_from((*TEXTS, *NUMBERS, True, False))


def make_meter(
    type: AggregationType = AggregationType.SUM,
    key: str | None = "bytes",
    filter: Filter | None = None,
    event_name: str = "it's a {e:String} 100%",
) -> Meter:
    return Meter(
        id="mtr_1",
        business_id="bus_1",
        mode="test_mode",
        name="egress",
        event_name=event_name,
        measurement_unit="byte",
        aggregation=Aggregation(type=type, key=key),
        filter=filter,
        created_at=AT,
        updated_at=AT,
    )


def operands(operator: Operator) -> tuple[Scalar, ...]:
    if operator in {Operator.CONTAINS, Operator.DOES_NOT_CONTAIN}:
        return TEXTS
    if operator in ORDERINGS:
        return (*TEXTS, *NUMBERS)
    return (*TEXTS, *NUMBERS, True, False)


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    operator = draw(st.sampled_from(Operator))
    asked = draw(st.sampled_from(operands(operator)))
    key = draw(st.sampled_from(KEYS))
    return Condition(key=key, operator=operator, value=canonical(asked))


def filters(inner: st.SearchStrategy[Condition | Filter]) -> st.SearchStrategy[Filter]:
    return st.builds(
        Filter,
        conjunction=st.sampled_from(Conjunction),
        clauses=st.lists(inner, min_size=1, max_size=4).map(tuple),
    )


NESTED = filters(conditions() | filters(conditions() | filters(conditions())))
METERS = st.builds(
    make_meter,
    type=st.sampled_from([type for type in AggregationType if type is not AggregationType.COUNT]),
    key=st.sampled_from(KEYS),
    filter=st.none() | NESTED,
) | st.builds(
    make_meter, type=st.just(AggregationType.COUNT), key=st.none(), filter=st.none() | NESTED
)
EVENTS = st.builds(
    UsageEvent,
    event_id=st.just("e"),
    customer_id=st.just("c"),
    event_name=st.sampled_from(("it's a {e:String} 100%", "other")),
    timestamp=st.integers(0, 3).map(lambda seconds: AT + timedelta(seconds=seconds)),
    metadata=st.dictionaries(st.sampled_from(KEYS), SCALARS, max_size=5).map(canonical_mapping),
)


def rows_of(events: list[UsageEvent]) -> str:
    return " UNION ALL ".join(
        f"SELECT {place} AS log_position, {literal(event.event_name)} AS event_name, "
        f"toDateTime64({literal(event.timestamp.isoformat())}, 6, 'UTC') AS timestamp, CAST(map("
        + ", ".join(f"{literal(key)}, {literal(text)}" for key, text in event.metadata.items())
        + "), 'Map(String, String)') AS metadata"
        for place, event in enumerate(events)
    )


def totals_of(meter: Meter, rows: str) -> str:
    quantity, events, not_counted = over_events(meter)
    return (
        f"SELECT toString({quantity}), toString({events}), toString({not_counted}) "
        f"FROM ({rows}) WHERE {condition(meter)}"
    )


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    events=st.lists(EVENTS, min_size=1, max_size=12),
    meters=st.lists(METERS, min_size=4, max_size=12),
)
def test_sql_and_model_agree(query: Query, events: list[UsageEvent], meters: list[Meter]) -> None:
    rows = rows_of(events)
    answer = [query(totals_of(meter, rows))[0] for meter in meters]

    for meter, (quantity, counted, not_counted) in zip(meters, answer, strict=True):
        expected = model.measure(meter, events)
        averaged = meter.aggregation.type is AggregationType.AVG
        assert expected.quantity == Fraction(quantity) / max(int(counted) if averaged else 1, 1)
        assert expected.events == int(counted)
        assert expected.not_counted == int(not_counted)


def test_every_operator_on_every_pair_of_values_agrees_with_the_model(query: Query) -> None:
    found = [{}, *({"k": scalar} for scalar in (*TEXTS, *NUMBERS, True, False))]
    events = [
        UsageEvent(
            event_id="e",
            customer_id="c",
            event_name="e",
            timestamp=AT,
            metadata=canonical_mapping(metadata),
        )
        for metadata in found
    ]
    asked = [
        Condition(key="k", operator=operator, value=canonical(scalar))
        for operator in Operator
        for scalar in operands(operator)
    ]
    columns = ", ".join(f"toString({clause(one)})" for one in asked)
    answer = query(f"SELECT {columns} FROM ({rows_of(events)}) ORDER BY log_position")

    for event, row in zip(events, answer, strict=True):
        for one, holds in zip(asked, row, strict=True):
            assert model.holds(one, event.metadata) is (holds == "1"), (one, event.metadata)


@pytest.mark.parametrize("operator", Operator)
def test_a_missing_property_matches_no_operator(query: Query, operator: Operator) -> None:
    one = Condition(key="quality", operator=operator, value=canonical("1080p"))

    assert not model.holds(one, {"bytes": "1"})
    assert query(f"SELECT {clause(one)} FROM (SELECT map('bytes', '1') AS metadata)") == [[0]]


def test_a_text_never_equals_a_number(query: Query) -> None:
    one = Condition(key="k", operator=Operator.EQUALS, value="5")

    rows = "SELECT map('k', arrayJoin(['5', '\"5\"', 'true'])) AS metadata"
    assert query(f"SELECT {clause(one)} FROM ({rows})") == [[1], [0], [0]]


def test_quotes_in_names_stay_inside_their_literal() -> None:
    meter = make_meter(event_name="x' OR 1 = 1 --")

    assert condition(meter) == r"event_name = 'x\' OR 1 = 1 --'"


def test_literals_hold_nothing_that_binds_parameters() -> None:
    text = literal("100%s {name:String}")

    assert not set(text) & set("%{}")
