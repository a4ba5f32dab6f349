from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.core.errors import UnsupportedError
from streamgauge.core.units import ByteUnit
from streamgauge.server.rating.price import Interval, MeterPrice, UsageBasedPrice
from streamgauge.server.rating.rate import Rated, check_ratable, rate

USAGES = st.integers(0, 10**40) | st.decimals(0, 10**20, places=12)
UNITS = st.none() | st.sampled_from(ByteUnit)
PER_UNIT = st.decimals(min_value=Decimal("1e-12"), max_value=99_999, places=12).map(
    lambda number: format(number, "f")
)
THRESHOLDS = st.none() | st.integers(0, 2**65)
PRICES = st.builds(
    MeterPrice,
    meter_id=st.just("m"),
    price_per_unit=PER_UNIT,
    price_unit=UNITS,
    free_threshold=THRESHOLDS,
)
FLAT = st.builds(MeterPrice, meter_id=st.just("m"), price_per_unit=PER_UNIT, price_unit=UNITS)
PER_GB = MeterPrice(meter_id="m", price_per_unit="5", price_unit=ByteUnit.GB)


@given(FLAT, st.integers(0, 10**40), st.integers(0, 10**40))
def test_without_a_threshold_two_usages_cost_their_sum_exactly(
    price: MeterPrice, one: int, other: int
) -> None:
    assert rate(one + other, price).exact == rate(one, price).exact + rate(other, price).exact


@given(PRICES, USAGES, USAGES)
def test_more_usage_never_costs_less(
    price: MeterPrice, one: int | Decimal, other: int | Decimal
) -> None:
    less, more = sorted((rate(one, price), rate(other, price)), key=lambda rated: rated.consumed)

    assert less.exact <= more.exact
    assert less.amount <= more.amount


@given(PRICES, USAGES)
def test_the_amount_is_within_half_a_minor_unit_of_the_exact_one(
    price: MeterPrice, usage: int | Decimal
) -> None:
    rated = rate(usage, price)

    assert abs(rated.amount - rated.exact) <= Fraction(1, 2)
    assert rated.consumed == rated.free + rated.chargeable


@given(PRICES, st.integers(0, 2**65))
def test_usage_up_to_the_threshold_costs_nothing(price: MeterPrice, usage: int) -> None:
    below = min(usage, price.free_threshold or 0)

    assert rate(below, price).amount == 0
    assert rate(below, price).exact == 0
    assert rate(below, price).free == below


@pytest.mark.parametrize("threshold", [2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 + 1])
def test_a_threshold_above_every_machine_word_does_not_wrap(threshold: int) -> None:
    price = MeterPrice(meter_id="m", price_per_unit="3", free_threshold=threshold)

    assert rate(threshold, price).amount == 0
    assert rate(threshold + 1, price).amount == 3
    assert rate(2 * threshold + 7, price).chargeable == threshold + 7


@pytest.mark.parametrize(
    ("usage", "amount"),
    [(100_000_000, 0), (100_000_001, 1), (300_000_000, 2), (500_000_000, 2), (700_000_000, 4)],
)
def test_half_a_cent_goes_to_the_even_cent(usage: int, amount: int) -> None:
    assert rate(usage, PER_GB).amount == amount


def test_ten_free_gigabytes_and_sixteen_used_cost_thirty_cents() -> None:
    price = MeterPrice(
        meter_id="m", price_per_unit="5", price_unit=ByteUnit.GB, free_threshold=10 * 10**9
    )

    rated = rate(Decimal(16 * 10**9), price)

    assert rated == Rated(
        consumed=Fraction(16 * 10**9),
        free=Fraction(10**10),
        chargeable=Fraction(6 * 10**9),
        exact=Fraction(30),
        amount=30,
    )


def test_a_decimal_beyond_the_usual_precision_stays_exact() -> None:
    usage = Decimal("12345678901234567890123456789012345678901234567890.000000000001")

    assert rate(
        usage, MeterPrice(meter_id="m", price_per_unit="1", free_threshold=1)
    ).chargeable == (Fraction(usage) - 1)


def test_usage_below_zero_costs_nothing() -> None:
    assert rate(-5, PER_GB).amount == 0


def test_credits_and_discounts_are_refused_by_name() -> None:
    meter = MeterPrice(meter_id="m", credit_entitlement_id="cde_1", meter_units_per_credit="1")
    with pytest.raises(UnsupportedError, match="credit_entitlement_id"):
        rate(1, meter)

    price = UsageBasedPrice(
        currency="USD",
        fixed_price=0,
        payment_frequency_count=1,
        payment_frequency_interval=Interval.MONTH,
        subscription_period_count=1,
        subscription_period_interval=Interval.YEAR,
        discount=10,
    )
    with pytest.raises(UnsupportedError, match="discount"):
        check_ratable(price)
