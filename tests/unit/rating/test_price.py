from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.units import ByteUnit
from streamgauge.server.rating.price import (
    MeterPrice,
    UsageBasedPrice,
    check_meter_price,
    check_price,
    price_per_raw_unit,
)

WIRE = {
    "type": "usage_based_price",
    "currency": "USD",
    "fixed_price": 0,
    "payment_frequency_count": 1,
    "payment_frequency_interval": "Month",
    "subscription_period_count": 20,
    "subscription_period_interval": "Year",
}


def decode(**changes: object) -> UsageBasedPrice:
    return msgspec.json.decode(msgspec.json.encode({**WIRE, **changes}), type=UsageBasedPrice)


def price(text: str, unit: ByteUnit | None = None) -> MeterPrice:
    return MeterPrice(meter_id="mtr_1", price_per_unit=text, price_unit=unit)


def test_five_cents_per_gigabyte_is_the_same_price_per_byte() -> None:
    per_gb = price("5", ByteUnit.GB)
    per_byte = price("0.000000005")

    assert price_per_raw_unit(per_gb) == price_per_raw_unit(per_byte) == Fraction(5, 10**9)


def test_a_price_per_gibibyte_is_exact_though_no_short_decimal_is() -> None:
    assert price_per_raw_unit(price("5", ByteUnit.GIB)) == Fraction(5, 2**30)


def test_a_price_is_kept_as_plain_text() -> None:
    kept = check_meter_price(price("0.000000005000"), field="m")

    assert kept.price_per_unit == "0.000000005"
    assert check_meter_price(price("10.50"), field="m").price_per_unit == "10.5"
    assert check_meter_price(price("100"), field="m").price_per_unit == "100"


@pytest.mark.parametrize(
    "text",
    ["0", "0.000", "-1", "1e3", "123456", "0.0000000000001", "", ".5", "5.", "NaN", "٣", None],
)
def test_what_is_no_price_is_refused(text: str | None) -> None:
    with pytest.raises(InvalidInputError, match="decimal text above 0") as caught:
        check_meter_price(MeterPrice(meter_id="m", price_per_unit=text), field="price.meters[0]")
    assert caught.value.field == "price.meters[0].price_per_unit"


def test_thresholds_above_every_machine_word_are_kept() -> None:
    for threshold in (2**31, 2**63, 2**64):
        given = msgspec.structs.replace(price("1"), free_threshold=threshold)
        assert check_meter_price(given, field="m").free_threshold == threshold
        assert msgspec.json.decode(msgspec.json.encode(given), type=MeterPrice) == given


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"currency": "usd"}, "price.currency"),
        ({"currency": "XXX"}, "price.currency"),
        ({"fixed_price": -1}, "price.fixed_price"),
        ({"fixed_price": 2**31}, "price.fixed_price"),
        ({"payment_frequency_count": 0}, "price.payment_frequency_count"),
        ({"subscription_period_count": 21}, "price.subscription_period_count"),
        ({"discount": 101}, "price.discount"),
        (
            {"meters": [{"meter_id": "m", "price_per_unit": "1", "free_threshold": -1}]},
            "price.meters[0].free_threshold",
        ),
        ({"meters": [{"meter_id": "m", "price_per_unit": "1"}] * 2}, "price.meters"),
        (
            {"meters": [{"meter_id": "m", "credit_entitlement_id": "cde_1"}]},
            "price.meters[0].meter_units_per_credit",
        ),
        (
            {"meters": [{"meter_id": "m", "price_per_unit": "1", "meter_units_per_credit": "1"}]},
            "price.meters[0].meter_units_per_credit",
        ),
    ],
)
def test_a_broken_price_is_refused_with_its_path(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_price(decode(**changes))
    assert caught.value.field == field


def test_a_meter_paid_with_credits_needs_no_price() -> None:
    meter = {"meter_id": "m", "credit_entitlement_id": "cde_1", "meter_units_per_credit": "1000.0"}

    checked = check_price(decode(meters=[meter]))

    assert checked.meters == (
        MeterPrice(meter_id="m", credit_entitlement_id="cde_1", meter_units_per_credit="1000"),
    )


def test_what_is_answered_can_be_sent_again() -> None:
    given = check_price(
        decode(meters=[{"meter_id": "m", "price_per_unit": "5", "price_unit": "GB"}])
    )

    assert msgspec.json.decode(msgspec.json.encode(given), type=UsageBasedPrice) == given
