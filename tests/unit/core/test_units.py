from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.units import ByteUnit, format_bytes, parse_bytes, parse_unit

UNITS = st.sampled_from(list(ByteUnit))


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("10GB", 10_000_000_000),
        ("10 GiB", 10_737_418_240),
        ("1.5 GiB", 1_610_612_736),
        ("0.001KB", 1),
        ("4096", 4096),
        ("4096 byte", 4096),
        (" 1TB ", 10**12),
        ("2TiB", 2**41),
    ],
)
def test_a_quantity_is_read_to_the_byte(text: str, quantity: int) -> None:
    assert parse_bytes(text) == quantity


@given(st.integers(min_value=0, max_value=10**60), st.integers(min_value=0, max_value=40), UNITS)
def test_a_quantity_is_exact_or_refused_however_long(digits: int, places: int, unit: str) -> None:
    number = f"{digits}"
    if places:
        number = f"{number.zfill(places + 1)[:-places]}.{number.zfill(places + 1)[-places:]}"
    exact = Fraction(digits, 10**places) * ByteUnit(unit).bytes
    if exact.denominator == 1:
        assert parse_bytes(f"{number}{unit}") == exact
    else:
        with pytest.raises(InvalidInputError, match="be a whole number of bytes"):
            parse_bytes(f"{number}{unit}")


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e3", "1,5GB", "1.GB", ".5GB", "1 GB x", "٣"])
def test_a_text_that_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="such as 10GB"):
        parse_bytes(text, field="free")


@pytest.mark.parametrize("text", ["gb", "Gb", "PB", "bytes", ""])
def test_a_unit_is_named_exactly_or_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="be one of byte, KB"):
        parse_unit(text)


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 KB"),
        (1_234_000_000, "1.23 GB"),
        (-5000, "-5.00 KB"),
    ],
)
def test_people_see_decimal_units(quantity: int, text: str) -> None:
    assert format_bytes(quantity) == text


@given(st.integers(min_value=0, max_value=10**20))
def test_what_people_see_is_near_the_truth(quantity: int) -> None:
    number, unit = format_bytes(quantity).split(" ")
    size = 1 if unit == "B" else ByteUnit(unit).bytes
    assert abs(Decimal(number) * size - quantity) <= Decimal(size) / 200
