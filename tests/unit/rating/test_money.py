from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.core.errors import InvalidInputError
from streamgauge.server.rating.money import (
    exact_text,
    format_money,
    places,
    round_minor,
)


@pytest.mark.parametrize(("currency", "count"), [("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)])
def test_places_are_those_of_iso_4217(currency: str, count: int) -> None:
    assert places(currency) == count


@pytest.mark.parametrize("currency", ["usd", "", "EURO", "XXX"])
def test_an_unknown_currency_is_refused(currency: str) -> None:
    with pytest.raises(InvalidInputError, match="ISO 4217"):
        places(currency)


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (30, "USD", "0.30 USD"),
        (-5, "USD", "-0.05 USD"),
        (1234, "JPY", "1234 JPY"),
        (1, "KWD", "0.001 KWD"),
    ],
)
def test_money_reads_in_major_units(minor: int, currency: str, text: str) -> None:
    assert format_money(minor, currency) == text


@given(st.decimals(-(10**30), 10**30, places=12))
def test_a_decimal_keeps_its_exact_text(number: Decimal) -> None:
    text = exact_text(Fraction(number))

    assert Fraction(text) == Fraction(number)
    assert "/" not in text
    assert not text.endswith(".")


@given(st.fractions())
def test_any_fraction_keeps_its_value_in_text(number: Fraction) -> None:
    assert Fraction(exact_text(number)) == number


@given(st.integers(-(10**30), 10**30))
def test_halves_round_to_even(whole: int) -> None:
    assert round_minor(Fraction(2 * whole + 1, 2)) % 2 == 0
