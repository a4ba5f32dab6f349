"""JSON for output: numbers keep every digit, and a terminal never obeys what is in a text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

_INDENT: Final = "  "
_QUANTITIES: Final = frozenset(
    {"quantity", "units", "consumed_units", "free_units", "chargeable_units"}
)


def exact_json(value: object, margin: str = "") -> str:
    """Return ``value`` as indented JSON; a ``Decimal`` is a number with all its digits."""
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=_has_controls(value))
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    inner = margin + _INDENT
    if isinstance(value, Mapping):
        pairs = [f"{exact_json(key)}: {exact_json(each, inner)}" for key, each in value.items()]
        return _block("{", pairs, "}", margin)
    assert isinstance(value, Sequence), f"no JSON is made of {type(value).__name__}"
    return _block("[", [exact_json(each, inner) for each in value], "]", margin)


def one_line(value: object) -> str:
    """Return ``value`` as JSON on one line."""
    return " ".join(part.strip() for part in exact_json(value).split("\n"))


def exact_number(text: str) -> int | Decimal | str:
    """Return a quantity's text as a number of all its digits; ``a/b`` stays a text."""
    if "/" in text:
        return text
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else number


def with_exact_numbers(value: Any) -> Any:  # noqa: ANN401 - JSON is what it is
    """Return an answer of the API with its quantities, texts on the wire, as numbers."""
    if isinstance(value, list):
        return [with_exact_numbers(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: exact_number(each)
        if key in _QUANTITIES and isinstance(each, str)
        else with_exact_numbers(each)
        for key, each in value.items()
    }


def _has_controls(value: object) -> bool:
    return isinstance(value, str) and not value.isprintable()


def _block(opening: str, parts: list[str], closing: str, margin: str) -> str:
    if not parts:
        return opening + closing
    inside = f",\n{margin}{_INDENT}".join(parts)
    return f"{opening}\n{margin}{_INDENT}{inside}\n{margin}{closing}"
