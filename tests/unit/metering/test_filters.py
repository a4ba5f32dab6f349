from __future__ import annotations

import msgspec
import pytest

from streamgauge.core.errors import InvalidInputError
from streamgauge.server.metering.filters import (
    Conjunction,
    FilterNode,
    describe,
    keys,
    levels,
    read_filter,
    write_filter,
)

LEAF = {"key": "quality", "operator": "equals", "value": "1080p"}


def node(tree: object) -> FilterNode:
    return msgspec.json.decode(msgspec.json.encode(tree), type=FilterNode)


def nest(depth: int) -> dict[str, object]:
    inner: dict[str, object] = {"conjunction": "and", "clauses": [LEAF]}
    for _ in range(depth - 1):
        inner = {"conjunction": "or", "clauses": [inner]}
    return inner


def test_conditions_and_filters_stand_in_one_list() -> None:
    tree = {"conjunction": "and", "clauses": [LEAF, {"conjunction": "or", "clauses": [LEAF, LEAF]}]}

    read = read_filter(node(tree))

    assert levels(read) == 2
    assert keys(read) == {"quality"}
    assert describe(read) == (
        'quality equals "1080p" and (quality equals "1080p" or quality equals "1080p")'
    )


def test_writing_gives_back_what_was_read() -> None:
    tree = {"conjunction": "or", "clauses": [LEAF, {**LEAF, "value": 1.5}, nest(2)]}

    read = read_filter(node(tree))

    assert msgspec.json.decode(msgspec.json.encode(write_filter(read))) == tree
    assert read_filter(write_filter(read)) == read


def test_a_number_is_kept_exactly() -> None:
    text = b'{"conjunction":"and","clauses":[{"key":"k","operator":"equals","value":%b}]}'

    def operand(value: bytes) -> str:
        read = read_filter(msgspec.json.decode(text % value, type=FilterNode))
        assert read.conjunction is Conjunction.AND
        (clause,) = read.clauses
        return getattr(clause, "value", "")

    assert operand(b"18446744073709551617") == "18446744073709551617"
    assert operand(b"0.1000") == "0.1"
    assert operand(b"1e3") == "1000"


def test_three_levels_are_taken_and_four_refused() -> None:
    assert levels(read_filter(node(nest(3)))) == 3
    with pytest.raises(InvalidInputError, match="nest at most 3 levels"):
        read_filter(node(nest(4)))


@pytest.mark.parametrize(
    ("tree", "field", "rule"),
    [
        ({"conjunction": "and", "clauses": []}, "filter.clauses", "1 to 10"),
        ({"conjunction": "and", "clauses": [LEAF] * 11}, "filter.clauses", "1 to 10"),
        ({"clauses": [LEAF]}, "filter", "a conjunction and clauses"),
        (LEAF, "filter", "a conjunction and clauses"),
        ({"conjunction": "and", "clauses": [{"key": "k"}]}, "filter.clauses[0]", "a key, an op"),
        (
            {"conjunction": "and", "clauses": [{**LEAF, "key": "k" * 101}]},
            "filter.clauses[0].key",
            "1 to 100",
        ),
        (
            {"conjunction": "and", "clauses": [{**LEAF, "value": None}]},
            "filter.clauses[0].value",
            "be a string, a number or a boolean",
        ),
        (
            {"conjunction": "and", "clauses": [{**LEAF, "operator": "less_than", "value": True}]},
            "filter.clauses[0].value",
            "be a number or a text",
        ),
        (
            {"conjunction": "and", "clauses": [{**LEAF, "operator": "contains", "value": 5}]},
            "filter.clauses[0].value",
            "be a text",
        ),
    ],
)
def test_a_broken_filter_is_refused_with_its_path(tree: object, field: str, rule: str) -> None:
    with pytest.raises(InvalidInputError, match=rule) as caught:
        read_filter(node(tree))
    assert caught.value.field == field


def test_an_unknown_operator_is_refused_while_decoding() -> None:
    with pytest.raises(msgspec.ValidationError, match="operator"):
        node({"conjunction": "and", "clauses": [{**LEAF, "operator": "like"}]})
