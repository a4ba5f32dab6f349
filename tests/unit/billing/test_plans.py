from __future__ import annotations

from datetime import UTC, datetime

import pytest

from streamgauge.core.metadata import canonical
from streamgauge.core.units import ByteUnit
from streamgauge.server.billing.plans import dodo_figures, overlaps
from streamgauge.server.metering.filters import Condition, Conjunction, Filter, Operator
from streamgauge.server.metering.meter import Aggregation, AggregationType, Meter
from streamgauge.server.rating.price import MeterPrice

AT = datetime(2026, 3, 1, tzinfo=UTC)


def meter(id: str, filter: Filter | None = None, event_name: str = "stream") -> Meter:
    return Meter(
        id=id,
        business_id="bus_1",
        mode="test_mode",
        name=id,
        event_name=event_name,
        measurement_unit="byte",
        aggregation=Aggregation(type=AggregationType.SUM, key="bytes"),
        filter=filter,
        created_at=AT,
        updated_at=AT,
    )


def equals(conjunction: Conjunction = Conjunction.AND, **values: str) -> Filter:
    clauses = tuple(
        Condition(key=key, operator=Operator.EQUALS, value=canonical(value))
        for key, value in values.items()
    )
    return Filter(conjunction=conjunction, clauses=clauses)


HD, SD = equals(quality="hd"), equals(quality="sd")


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (None, None, True),
        (None, HD, True),
        (HD, HD, True),
        (HD, SD, False),
        (HD, equals(kind="live"), True),
        (equals(quality="hd", kind="live"), equals(quality="hd", kind="film"), False),
        (HD, equals(Conjunction.OR, quality="sd", kind="live"), True),
        (equals(Conjunction.OR, quality="hd"), SD, False),
    ],
)
def test_meters_overlap_unless_they_demand_different_values(
    one: Filter | None, other: Filter | None, found: bool
) -> None:
    mine, theirs = meter("mtr_1", one), meter("mtr_2", other)

    assert overlaps(mine, [mine, theirs]) == ([theirs] if found else [])
    assert overlaps(theirs, [mine, theirs]) == ([mine] if found else [])


def test_meters_of_other_events_do_not_overlap() -> None:
    assert overlaps(meter("mtr_1"), [meter("mtr_2", event_name="upload")]) == []


def test_a_decimal_unit_fits_dodo_and_a_binary_one_is_warned_of() -> None:
    per_gb = MeterPrice(meter_id="mtr_1", price_per_unit="5", price_unit=ByteUnit.GB)
    per_gib = MeterPrice(meter_id="mtr_1", price_per_unit="5", price_unit=ByteUnit.GIB)

    fits = dodo_figures(meter("mtr_1"), per_gb, "USD")
    assert (fits.price_per_unit, fits.price_per_unit_major) == ("0.000000005", "0.00000000005")
    assert fits.warnings == ()
    (warning,) = dodo_figures(meter("mtr_1"), per_gib, "USD").warnings
    assert "30 decimal places" in warning


def test_a_threshold_that_dodo_cannot_hold_is_warned_of() -> None:
    price = MeterPrice(meter_id="mtr_1", price_per_unit="1", free_threshold=2**63)

    (warning,) = dodo_figures(meter("mtr_1"), price, "USD").warnings
    assert "2^63" in warning
