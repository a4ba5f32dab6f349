from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from streamgauge.core.units import ByteUnit
from streamgauge.server.metering.meter import Aggregation, AggregationType, Meter
from streamgauge.server.metering.windows import check_window
from streamgauge.server.rating.invoice import InvoiceLine, fixed_line, late_usage, usage_line
from streamgauge.server.rating.price import MeterPrice
from streamgauge.server.rating.rate import Usage, rate

AT = datetime(2026, 3, 1, tzinfo=UTC)
METER = Meter(
    id="mtr_1",
    business_id="bus_1",
    mode="test_mode",
    name="egress",
    event_name="stream_consumption",
    measurement_unit="byte",
    aggregation=Aggregation(type=AggregationType.SUM, key="bytes"),
    created_at=AT,
    updated_at=AT,
)
PRICE = MeterPrice(
    meter_id="mtr_1", price_per_unit="5", price_unit=ByteUnit.GB, free_threshold=10**10
)


def make_line(price: MeterPrice, quantity: int) -> InvoiceLine:
    usage = Usage(quantity=Fraction(quantity), events=12, not_counted=1)
    window = check_window(AT, AT + timedelta(days=31))
    return usage_line(METER, price, usage, currency="USD", windows=(window,))


def test_a_line_tells_its_arithmetic() -> None:
    line = make_line(PRICE, 16_100_000_001)

    assert line.measures == "sum of bytes over events named stream_consumption"
    assert (line.events, line.not_counted) == (12, 1)
    assert line.consumed_units == "16100000001"
    assert line.free_units == "10000000000"
    assert line.chargeable_units == "6100000001"
    assert line.exact_amount == "30.500000005"
    assert line.amount == 31
    assert line.explanation == (
        "16100000001 bytes (16.10 GB) less 10000000000 bytes (10.00 GB) free is "
        "6100000001 bytes (6.10 GB); at 0.05 USD per GB (1,000,000,000 bytes) that is "
        "0.30500000005 USD, rounded half to even: 0.31 USD."
    )


def test_a_price_per_gibibyte_still_has_an_exact_amount() -> None:
    price = MeterPrice(meter_id="mtr_1", price_per_unit="0.000000000001", price_unit=ByteUnit.GIB)

    line = make_line(price, 1)

    assert line.exact_amount == "0.000000000000000000000931322574615478515625"


def test_a_fixed_price_is_a_line_of_its_own() -> None:
    line = fixed_line(999, "USD")

    assert (line.amount, line.exact_amount) == (999, "999")
    assert line.explanation == "9.99 USD per period, whatever the usage."


def test_a_line_gives_back_the_usage_and_the_price_it_was_made_from() -> None:
    line = make_line(PRICE, 16_100_000_001)

    assert line.price == PRICE
    assert rate(line.usage.quantity, line.price).amount == line.amount


def test_late_usage_is_what_the_line_would_have_cost_more() -> None:
    line = make_line(PRICE, 9_999_999_999)
    now = Usage(quantity=Fraction(10_300_000_000), events=14, not_counted=1)

    late = late_usage(line, now)

    assert (late.events, late.not_counted, late.units) == (2, 0, "300000001")
    assert (late.exact_amount, late.amount) == ("1.5", 2)
