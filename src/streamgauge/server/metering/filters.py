"""Filters of a meter: conditions on metadata, joined by and/or, up to three levels deep."""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import UNSET, UnsetType

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.limits import (
    FILTER_CLAUSES_MAX,
    FILTER_LEVELS_MAX,
    METADATA_KEY_CHARS_MAX,
)
from streamgauge.core.metadata import canonical_raw


class Conjunction(StrEnum):
    """How the clauses of a filter are joined."""

    AND = "and"
    OR = "or"


class Operator(StrEnum):
    """How a condition compares; the value is the word on the wire."""

    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    GREATER_THAN = "greater_than"
    GREATER_THAN_OR_EQUALS = "greater_than_or_equals"
    LESS_THAN = "less_than"
    LESS_THAN_OR_EQUALS = "less_than_or_equals"
    CONTAINS = "contains"
    DOES_NOT_CONTAIN = "does_not_contain"


ORDERINGS = frozenset(
    {
        Operator.GREATER_THAN,
        Operator.GREATER_THAN_OR_EQUALS,
        Operator.LESS_THAN,
        Operator.LESS_THAN_OR_EQUALS,
    }
)


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison of one metadata value.

    Attributes:
        key: Which metadata value.
        operator: How it is compared.
        value: What it is compared with, as canonical JSON text.
    """

    key: str
    operator: Operator
    value: str


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Clauses joined by one conjunction; conditions and filters may stand side by side."""

    conjunction: Conjunction
    clauses: tuple[Condition | Filter, ...]


class FilterNode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A filter or a condition as it stands on the wire (see ``read_filter``)."""

    conjunction: Conjunction | UnsetType = UNSET
    clauses: tuple[FilterNode, ...] | UnsetType = UNSET
    key: str | UnsetType = UNSET
    operator: Operator | UnsetType = UNSET
    value: msgspec.Raw | UnsetType = UNSET


def read_filter(node: FilterNode, *, field: str = "filter", level: int = 1) -> Filter:
    """Return the checked filter that ``node`` spells.

    Raises:
        InvalidInputError: It is too deep or too wide, or a clause breaks a rule.
    """
    if level > FILTER_LEVELS_MAX:
        raise InvalidInputError(field, level, f"nest at most {FILTER_LEVELS_MAX} levels")
    if isinstance(node.conjunction, UnsetType) or isinstance(node.clauses, UnsetType):
        raise InvalidInputError(field, _given(node), "have a conjunction and clauses")
    if not 1 <= len(node.clauses) <= FILTER_CLAUSES_MAX:
        raise InvalidInputError(
            f"{field}.clauses", len(node.clauses), f"have 1 to {FILTER_CLAUSES_MAX} clauses"
        )
    clauses = tuple(
        _read_clause(clause, field=f"{field}.clauses[{index}]", level=level)
        for index, clause in enumerate(node.clauses)
    )
    return Filter(conjunction=node.conjunction, clauses=clauses)


def write_filter(clause: Filter | Condition) -> FilterNode:
    """Return ``clause`` as it stands on the wire; ``read_filter`` gives it back."""
    if isinstance(clause, Condition):
        return FilterNode(
            key=clause.key, operator=clause.operator, value=msgspec.Raw(clause.value.encode())
        )
    clauses = tuple(write_filter(inner) for inner in clause.clauses)
    return FilterNode(conjunction=clause.conjunction, clauses=clauses)


def levels(clause: Filter | Condition) -> int:
    """Return how many filters stand inside one another, counting this one."""
    if isinstance(clause, Condition):
        return 0
    return 1 + max(levels(inner) for inner in clause.clauses)


def keys(clause: Filter | Condition) -> frozenset[str]:
    """Return the metadata keys that ``clause`` reads."""
    if isinstance(clause, Condition):
        return frozenset({clause.key})
    return frozenset().union(*(keys(inner) for inner in clause.clauses))


def describe(clause: Filter | Condition) -> str:
    """Return ``clause`` for people, such as ``quality equals "1080p"``."""
    if isinstance(clause, Condition):
        return f"{clause.key} {clause.operator.replace('_', ' ')} {clause.value}"
    texts = [
        f"({describe(inner)})" if isinstance(inner, Filter) else describe(inner)
        for inner in clause.clauses
    ]
    return f" {clause.conjunction} ".join(texts)


def _read_clause(node: FilterNode, *, field: str, level: int) -> Condition | Filter:
    if not isinstance(node.clauses, UnsetType) or not isinstance(node.conjunction, UnsetType):
        return read_filter(node, field=field, level=level + 1)
    return _read_condition(node, field)


def _read_condition(node: FilterNode, field: str) -> Condition:
    if (
        isinstance(node.key, UnsetType)
        or isinstance(node.operator, UnsetType)
        or isinstance(node.value, UnsetType)
    ):
        raise InvalidInputError(field, _given(node), "have a key, an operator and a value")
    if not 1 <= len(node.key) <= METADATA_KEY_CHARS_MAX:
        raise InvalidInputError(
            f"{field}.key", node.key, f"be a text of 1 to {METADATA_KEY_CHARS_MAX} characters"
        )
    value = canonical_raw(bytes(node.value).decode(), field=f"{field}.value")
    _check_operand(node.operator, value, field)
    return Condition(key=node.key, operator=node.operator, value=value)


def _check_operand(operator: Operator, value: str, field: str) -> None:
    # Such a condition could never match, and a meter that silently measures nothing loses money.
    if operator in ORDERINGS and value in {"true", "false"}:
        raise InvalidInputError(f"{field}.value", value, f"be a number or a text for {operator}")
    if operator in {Operator.CONTAINS, Operator.DOES_NOT_CONTAIN} and not value.startswith('"'):
        raise InvalidInputError(f"{field}.value", value, f"be a text for {operator}")


def _given(node: FilterNode) -> str:
    return msgspec.json.encode(node).decode()
