from __future__ import annotations

from decimal import Decimal

import pytest

from streamgauge.cli.conditions import parse_filter
from streamgauge.core.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "key", "operator", "value"),
    [
        ("quality=1080p", "quality", "equals", "1080p"),
        ("quality!=1080p", "quality", "not_equals", "1080p"),
        ("height>=720", "height", "greater_than_or_equals", 720),
        ("height<=720", "height", "less_than_or_equals", 720),
        ("height>720", "height", "greater_than", 720),
        ("rate<1.50", "rate", "less_than", Decimal("1.50")),
        ("path~/live/", "path", "contains", "/live/"),
        ("path!~5", "path", "does_not_contain", "5"),
        ("live=true", "live", "equals", True),
        ('year="2026"', "year", "equals", "2026"),
        ("query=a=b", "query", "equals", "a=b"),
        ("code=007", "code", "equals", "007"),
        ("empty=", "empty", "equals", ""),
    ],
)
def test_a_condition_is_read_as_it_is_written(
    text: str, key: str, operator: str, value: object
) -> None:
    found = parse_filter([text])
    assert found == {
        "conjunction": "and",
        "clauses": [{"key": key, "operator": operator, "value": value}],
    }
    assert type(found["clauses"][0]["value"]) is type(value)


def test_conditions_are_joined_by_and() -> None:
    found = parse_filter(["a=1", "b=2"])
    assert found is not None
    assert found["conjunction"] == "and"
    assert [each["key"] for each in found["clauses"]] == ["a", "b"]


def test_no_condition_is_no_filter() -> None:
    assert parse_filter([]) is None


@pytest.mark.parametrize("text", ["quality", "=1080p", " =x", "", 'a="open'])
def test_what_is_no_condition_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInputError, match="--filter is"):
        parse_filter([text])
