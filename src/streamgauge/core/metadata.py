"""Metadata values as canonical JSON texts: exact, typed, and equal when the values are equal.

A string keeps its quotes, a number is a plain decimal without exponent or trailing zeros, a
boolean is ``true`` or ``false``. Texts travel from the SDK to the store unchanged; a float is
never made of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.limits import (
    METADATA_KEY_CHARS_MAX,
    METADATA_PAIRS_MAX,
    METADATA_VALUE_CHARS_MAX,
    NUMBER_DIGITS_MAX,
    NUMBER_PLACES_MAX,
)

Scalar = str | int | Decimal | bool
"""What a metadata value is in Python; a float given by a caller is taken by its shortest text."""

_PLAIN: Final = r'(?:"[^"\\\x00-\x1f]{0,500}"|0|-?[1-9][0-9]{0,37}|true|false)'
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
# Longer exponents cannot name a number within the limits, and must not cost memory to refuse.
_NUMBER_CHARS_MAX: Final = 200
_EXPONENT_MAX: Final = 200

_UNICODE_RULE: Final = "be valid Unicode, without lone surrogates"
_STRING_DECODER: Final = msgspec.json.Decoder(str)
_ENCODER: Final = msgspec.json.Encoder()


def canonical(value: object, *, field: str = "metadata") -> str:
    """Return a caller's value as canonical JSON text.

    Raises:
        InvalidInputError: Not a string, integer, decimal, finite float or boolean, or over a limit.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value, field)
    if isinstance(value, int):
        return _integer(value, field)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInputError(field, value, "be a finite number")
        return canonical_number(Decimal(float.__repr__(value)), field=field)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise InvalidInputError(field, value, "be a finite number")
        return canonical_number(value, field=field)
    raise InvalidInputError(field, value, "be a string, a number or a boolean, not nested or null")


is_plain: Final = re.compile(_PLAIN).fullmatch
"""Tells whether a JSON value is canonical as it stood on the wire; most are, so it is no frame."""

are_plain: Final = re.compile(rf"(?:{_PLAIN}(?:\n{_PLAIN})*+)?+").fullmatch
"""Tells the same of many values, each on a line of its own; none of them has a line feed in it."""


def canonical_raw(raw: str, *, field: str = "metadata") -> str:
    """Return one JSON value, as it stood on the wire, as canonical JSON text.

    Raises:
        InvalidInputError: It is null, an array or an object, or over a limit.
    """
    if is_plain(raw):
        return raw
    if raw.startswith('"'):
        try:
            return _string(_STRING_DECODER.decode(raw), field)
        except msgspec.DecodeError:
            raise InvalidInputError(field, raw, _UNICODE_RULE) from None
    match = _NUMBER.fullmatch(raw)
    if match is None:
        raise InvalidInputError(
            field, raw, "be a string, a number or a boolean, not nested or null"
        )
    if len(raw) > _NUMBER_CHARS_MAX or abs(int(match[2] or 0)) > _EXPONENT_MAX:
        raise InvalidInputError(field, raw, _number_rule())
    return canonical_number(Decimal(raw), field=field)


def canonical_number(number: Decimal, *, field: str) -> str:
    """Return a finite decimal as plain digits, without exponent or trailing zeros.

    Raises:
        InvalidInputError: It needs more digits or places than the store keeps exactly.
    """
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int), "finite numbers have an integer exponent"
    if abs(exponent) > 2 * _EXPONENT_MAX or len(digits) > 2 * _EXPONENT_MAX:
        raise InvalidInputError(field, number, _number_rule())
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if text in {"-0", ""}:
        text = "0"
    whole, _, places = text.lstrip("-").partition(".")
    significant = len((whole + places).lstrip("0"))
    if len(places) > NUMBER_PLACES_MAX or significant > NUMBER_DIGITS_MAX:
        raise InvalidInputError(field, number, _number_rule())
    return text


def parse(text: str) -> Scalar:
    """Return the Python value of a canonical text: str, bool, int, or Decimal with places."""
    if text.startswith('"'):
        return _STRING_DECODER.decode(text)
    if text in {"true", "false"}:
        return text == "true"
    return Decimal(text) if "." in text else int(text)


def check_key(key: object, *, field: str = "metadata") -> str:
    """Return ``key`` if it may name a metadata value.

    Raises:
        InvalidInputError: It is no text of 1 to 100 characters.
    """
    if not isinstance(key, str) or not 1 <= len(key) <= METADATA_KEY_CHARS_MAX:
        raise InvalidInputError(
            f"{field} key", key, f"be a text of 1 to {METADATA_KEY_CHARS_MAX} characters"
        )
    if not key.isascii() and any("\ud800" <= character <= "\udfff" for character in key):
        raise InvalidInputError(f"{field} key", key, _UNICODE_RULE)
    # Types that derive from str, such as markupsafe's, cannot be encoded.
    return key if type(key) is str else str.__str__(key)


def canonical_mapping(given: Mapping[str, object] | None) -> dict[str, str]:
    """Return a caller's metadata as canonical texts by key.

    Raises:
        InvalidInputError: A key or a value breaks a rule, or there are too many pairs.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidInputError("metadata", given, "be a mapping of texts to plain values")
    if len(given) > METADATA_PAIRS_MAX:
        raise InvalidInputError("metadata", len(given), f"have at most {METADATA_PAIRS_MAX} pairs")
    return {
        check_key(key): canonical(value, field=f"metadata.{key}") for key, value in given.items()
    }


def encode(texts: Mapping[str, str]) -> str:
    """Return canonical texts by key as one JSON object, keys in their given order."""
    pairs = ",".join(f"{_ENCODER.encode(key).decode()}:{text}" for key, text in texts.items())
    return f"{{{pairs}}}"


def _string(value: str, field: str) -> str:
    if len(value) > METADATA_VALUE_CHARS_MAX:
        raise InvalidInputError(field, value, f"have at most {METADATA_VALUE_CHARS_MAX} characters")
    try:
        # Types that derive from str, such as numpy's, have encodings of their own or none.
        return _ENCODER.encode(str.__str__(value)).decode()
    except UnicodeEncodeError:
        raise InvalidInputError(field, value, _UNICODE_RULE) from None


def _integer(value: int, field: str) -> str:
    if not -(10**NUMBER_DIGITS_MAX) < value < 10**NUMBER_DIGITS_MAX:
        # Decimal texts of huge integers are slow to make, so the message shows the size alone.
        shown = f"an integer of {value.bit_length()} bits"
        raise InvalidInputError(field, shown, _number_rule())
    return int.__repr__(value)


def _number_rule() -> str:
    return f"have at most {NUMBER_DIGITS_MAX} digits, {NUMBER_PLACES_MAX} of them after the point"
