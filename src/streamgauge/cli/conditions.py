"""Conditions of a meter's filter as typed on a command line: ``quality=1080p``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from streamgauge.core.errors import InvalidInputError

# Longer signs stand before their beginnings.
_OPERATORS: Final = {
    "!=": "not_equals",
    ">=": "greater_than_or_equals",
    "<=": "less_than_or_equals",
    "!~": "does_not_contain",
    "=": "equals",
    ">": "greater_than",
    "<": "less_than",
    "~": "contains",
}
_CONDITION: Final = re.compile(r"([^=!<>~]+)(!=|>=|<=|!~|=|>|<|~)(.*)", re.DOTALL)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")


def parse_filter(texts: Sequence[str], *, field: str = "--filter") -> dict[str, Any] | None:
    """Return the filter that takes an event if every condition holds; None for no condition.

    Raises:
        InvalidInputError: A text is no condition.
    """
    if not texts:
        return None
    return {"conjunction": "and", "clauses": [parse_condition(each, field) for each in texts]}


def parse_condition(text: str, field: str) -> dict[str, Any]:
    """Return one condition as it stands on the wire."""
    match = _CONDITION.fullmatch(text)
    if match is None or not match[1].strip():
        raise InvalidInputError(
            field, text, "be KEY=VALUE, or with one of != > >= < <= ~ (contains) !~ for ="
        )
    operator = _OPERATORS[match[2]]
    value = match[3].strip()
    is_text = operator in {"contains", "does_not_contain"}
    return {
        "key": match[1].strip(),
        "operator": operator,
        "value": _unquoted(value, field) if is_text else parse_value(value, field),
    }


def parse_value(text: str, field: str) -> str | int | Decimal | bool:
    """Return a number or a boolean where ``text`` is one, else the text; quotes make it a text."""
    if text in {"true", "false"}:
        return text == "true"
    if _NUMBER.fullmatch(text):
        return Decimal(text) if "." in text else int(text)
    return _unquoted(text, field)


def _unquoted(text: str, field: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, str):
        raise InvalidInputError(field, text, "end its quotes where it ends")
    return value
