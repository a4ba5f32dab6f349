from __future__ import annotations

import json
import math
from collections import OrderedDict
from decimal import Decimal
from enum import IntEnum, StrEnum
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.metadata import (
    canonical,
    canonical_mapping,
    canonical_raw,
    encode,
    parse,
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
INTEGERS = st.integers(min_value=-(10**38) + 1, max_value=10**38 - 1)
DECIMALS = st.builds(
    lambda whole, places: Decimal(whole).scaleb(-places),
    st.integers(min_value=-(10**27), max_value=10**27),
    st.integers(min_value=0, max_value=12),
)
SCALARS = TEXTS | INTEGERS | DECIMALS | st.booleans()


class Word(StrEnum):
    HIGH = "high"


class Level(IntEnum):
    THREE = 3


@given(SCALARS)
def test_a_value_comes_back_with_its_type_and_to_the_last_digit(value: str | Decimal) -> None:
    back = parse(canonical(value))
    assert back == value
    assert isinstance(back, bool) == isinstance(value, bool)
    assert isinstance(back, str) == isinstance(value, str)


@given(SCALARS)
def test_a_canonical_text_is_json_and_its_own_canonical_text(value: str | Decimal) -> None:
    text = canonical(value)
    assert json.loads(text, parse_float=Decimal) == value
    assert canonical_raw(text) == text
    assert canonical(parse(text)) == text


@given(TEXTS, st.booleans())
def test_every_spelling_of_a_string_has_one_canonical_text(text: str, ascii_only: bool) -> None:
    assert canonical_raw(json.dumps(text, ensure_ascii=ascii_only)) == canonical(text)


@given(
    st.integers(min_value=-(10**20), max_value=10**20),
    st.integers(min_value=0, max_value=12),
    st.integers(min_value=0, max_value=5),
    st.sampled_from(["e", "E"]),
)
def test_every_spelling_of_a_number_has_one_canonical_text(
    digits: int, places: int, zeros: int, letter: str
) -> None:
    number = Decimal(digits).scaleb(-places)
    plain = f"{number:f}"
    spellings = [
        plain if "." in plain else f"{plain}{letter}0",
        f"{plain}{'' if '.' in plain else '.'}{'0' * (zeros + 1)}",
        f"{digits}{letter}-{places}",
        f"{digits * 10**zeros}{letter}{-places - zeros}",
    ]
    assert {canonical_raw(spelling) for spelling in spellings} == {canonical(number)}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_taken_by_its_shortest_text_or_refused(value: float) -> None:
    exact = Decimal(repr(value))
    if abs(exact) < 10**38 and (Fraction(exact) * 10**12).denominator == 1:
        assert parse(canonical(value)) == exact
    else:
        with pytest.raises(InvalidInputError):
            canonical(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (1e30, "1" + "0" * 30),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.50"), "0.5"),
        (2**53 + 1, "9007199254740993"),
        (10**38 - 1, "9" * 38),
        (Decimal("0." + "0" * 11 + "1"), "0.000000000001"),
        (True, "true"),
        ("", '""'),
        ("5", '"5"'),
        ('a"b\\c\n', '"a\\"b\\\\c\\n"'),
        ("é/🎬", '"é/🎬"'),
        (Word.HIGH, '"high"'),
        (Level.THREE, "3"),
        (np.float64(1.5), "1.5"),
        (np.str_("hd"), '"hd"'),
    ],
)
def test_values_have_the_expected_texts(value: object, text: str) -> None:
    assert canonical(value) == text


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"nested": 1},
        b"bytes",
        1j,
        math.nan,
        math.inf,
        Decimal("NaN"),
        Decimal("-Infinity"),
        10**38,
        -(10**38),
        pytest.param(10**5000, id="an integer of 5001 digits"),
        Decimal("1e38"),
        Decimal("1e-13"),
        Decimal("1e999999"),
        Decimal("1e-999999"),
        "x" * 501,
        "\ud800",
    ],
)
def test_what_cannot_be_kept_exactly_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match=r"^metadata\.k is .*; it must "):
        canonical(value, field="metadata.k")


@pytest.mark.parametrize(
    "raw",
    [
        "null",
        "[1]",
        "{}",
        "01",
        "+1",
        ".5",
        "1.",
        "1e",
        "NaN",
        "Infinity",
        "1e39",
        "1e-13",
        "1e999999999",
        "9" * 39,
        '"' + "x" * 501 + '"',
        '"\\ud800"',
    ],
)
def test_what_is_no_value_on_the_wire_is_refused(raw: str) -> None:
    with pytest.raises(InvalidInputError):
        canonical_raw(raw)


def test_a_mapping_keeps_its_order_and_names_the_guilty_key() -> None:
    given_pairs = OrderedDict([("quality", "hd"), ("bytes", 10), ("live", True)])
    texts = canonical_mapping(given_pairs)
    assert list(texts.items()) == [("quality", '"hd"'), ("bytes", "10"), ("live", "true")]
    assert encode(texts) == '{"quality":"hd","bytes":10,"live":true}'
    assert canonical_mapping(None) == {}
    with pytest.raises(InvalidInputError, match=r"metadata\.quality is \['hd'\]"):
        canonical_mapping({"quality": ["hd"]})


@pytest.mark.parametrize("key", ["", "k" * 101, 5, None])
def test_a_key_outside_its_bounds_is_refused(key: object) -> None:
    with pytest.raises(InvalidInputError, match="metadata key"):
        canonical_mapping({key: 1})  # type: ignore[dict-item]


def test_fifty_pairs_are_taken_and_one_more_is_refused() -> None:
    pairs: dict[str, object] = {f"key{number}": number for number in range(50)}
    assert len(canonical_mapping(pairs)) == 50
    with pytest.raises(InvalidInputError, match="at most 50 pairs"):
        canonical_mapping({**pairs, "one": "more"})


@given(st.dictionaries(TEXTS.filter(bool), SCALARS, max_size=5))
def test_encoded_metadata_is_the_json_object_that_was_given(given_pairs: dict[str, object]) -> None:
    text = encode(canonical_mapping(given_pairs))
    assert json.loads(text, parse_float=Decimal) == given_pairs
