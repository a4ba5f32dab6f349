from __future__ import annotations

import pytest

from streamgauge.cli.prices import Price, parse_price
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.units import ByteUnit


def price(
    amount: str, per: str | None, free: str | None = None, currency: str = "USD", unit: str = "byte"
) -> Price:
    found = parse_price(amount, per, free, currency, unit)
    assert found is not None
    return found


def test_the_readme_price_is_exact_in_every_form() -> None:
    found = price("0.05", "GB", "10GB")
    assert found.price_per_unit == "5"
    assert found.per is ByteUnit.GB
    assert found.free == 10_000_000_000
    assert found.raw_text == "0.000000005"
    assert found.raw_major_text == "0.00000000005"


def test_a_price_per_the_meters_own_unit_needs_no_conversion() -> None:
    assert price("0.25", "byte").per is None
    assert price("0.25", None).raw_text == "25"


@pytest.mark.parametrize(
    ("currency", "minor"), [("USD", "5"), ("JPY", "0.05"), ("KWD", "50"), ("CLF", "500")]
)
def test_minor_units_follow_the_currency(currency: str, minor: str) -> None:
    assert price("0.05", "GB", currency=currency).price_per_unit == minor


def test_a_price_that_dodos_field_cannot_hold_has_no_figure() -> None:
    assert price("0.05", "GiB").raw_text is None
    assert price("0.05", "TB").raw_text == "0.000000000005"
    assert price("0.005", "TB").raw_text is None
    assert price("0.005", "TB").raw_major_text is None


def test_free_units_of_other_meters_are_whole_numbers() -> None:
    assert price("1", None, "100", unit="event").free == 100
    with pytest.raises(InvalidInputError, match="--free is '10GB'"):
        price("1", None, "10GB", unit="event")


def test_without_a_price_there_is_none() -> None:
    assert parse_price(None, None, None, None, "byte") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, "GB", None, None, "byte"), "--per is 'GB'; it must stand beside --price"),
        ((None, None, "1GB", None, "byte"), "--free is '1GB'"),
        ((None, None, None, "USD", "byte"), "--currency is 'USD'"),
        (("1", None, None, None, "byte"), "--currency is None"),
        (("1", None, None, "usd", "byte"), "--currency is 'usd'"),
        (("0", None, None, "USD", "byte"), "--price is '0'"),
        (("-1", None, None, "USD", "byte"), "--price is '-1'"),
        (("1e3", None, None, "USD", "byte"), "--price is '1e3'"),
        (("1", "GBs", None, "USD", "byte"), "--per is 'GBs'"),
        (("1", "GB", None, "USD", "minute"), "--per is 'GB'"),
        (("1", None, "1.5 byte", "USD", "byte"), "--free is '1.5 byte'"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_option(
    arguments: tuple[str | None, str | None, str | None, str | None, str], message: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_price(*arguments)
    assert message in str(caught.value)
