"""A meter as SQL over the event columns ``event_name`` and ``metadata`` (canonical JSON texts).

A canonical text is never empty, so ``metadata[key] = ''`` means that the property is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from streamgauge.core.limits import NUMBER_PLACES_MAX
from streamgauge.core.metadata import parse
from streamgauge.server.metering.filters import (
    ORDERINGS,
    Condition,
    Conjunction,
    Filter,
    Operator,
)
from streamgauge.server.metering.meter import AggregationType, Meter

_ORDER_SIGNS: Final = {
    Operator.GREATER_THAN: ">",
    Operator.GREATER_THAN_OR_EQUALS: ">=",
    Operator.LESS_THAN: "<",
    Operator.LESS_THAN_OR_EQUALS: "<=",
}
ZERO: Final = f"toDecimal256(0, {NUMBER_PLACES_MAX})"
# Percent signs and braces are placeholders to clients that bind parameters, even inside a literal.
_ESCAPES: Final = str.maketrans(
    {
        "\\": "\\\\",
        "'": "\\'",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\0": "\\0",
        "%": "\\x25",
        "{": "\\x7B",
        "}": "\\x7D",
    }
)


def literal(text: str) -> str:
    """Return ``text`` as an SQL string; the only way a value of ours enters SQL as text."""
    return f"'{text.translate(_ESCAPES)}'"


def condition(meter: Meter) -> str:
    """Return the SQL predicate (0 or 1, never NULL) of the events that ``meter`` takes."""
    named = f"event_name = {literal(meter.event_name)}"
    if meter.filter is None:
        return named
    return f"({named} AND {clause(meter.filter)})"


class Aggregates(NamedTuple):
    """What a meter says, as SQL aggregates.

    Attributes:
        quantity: An exact number; of ``avg`` the sum, to be divided by ``events``.
        events: How many events are counted.
        not_counted: How many are taken but are not counted.
    """

    quantity: str
    events: str
    not_counted: str


def over_events(meter: Meter) -> Aggregates:
    """Return the SQL of what ``meter`` says over the events that it takes."""
    kind, key = meter.aggregation.type, meter.aggregation.key
    if key is None:
        return Aggregates("count()", "count()", "toUInt64(0)")
    text, number = property_of(key), number_of(property_of(key))
    counted = f"{number} IS NOT NULL"
    match kind:
        case AggregationType.MAX:
            quantity = f"ifNull(max({number}), {ZERO})"
        case AggregationType.LAST:
            place = "(timestamp, log_position)"
            quantity = f"argMaxIf(assumeNotNull({number}), {place}, {counted})"
        case AggregationType.UNIQUE:
            counted = f"{text} != ''"
            quantity = f"uniqExactIf({text}, {counted})"
        case _:
            quantity = f"sum(ifNull({number}, {ZERO}))"
    return Aggregates(quantity, f"countIf({counted})", f"countIf(NOT ({counted}))")


def clause(node: Filter | Condition, leaf: Callable[[Condition], str] | None = None) -> str:
    """Return the SQL predicate (0 or 1, never NULL) of a filter or a condition.

    Args:
        node: What to compile.
        leaf: How a condition is compiled; over the metadata of events if None.
    """
    if isinstance(node, Filter):
        sign = " AND " if node.conjunction is Conjunction.AND else " OR "
        return f"({sign.join(clause(inner, leaf) for inner in node.clauses)})"
    return comparison(node, property_of(node.key)) if leaf is None else leaf(node)


def comparison(node: Condition, found: str) -> str:
    """Return the SQL predicate of a condition over a property whose canonical text is ``found``."""
    if node.operator is Operator.EQUALS:
        return f"{found} = {literal(node.value)}"
    if node.operator is Operator.NOT_EQUALS:
        return f"{found} NOT IN ('', {literal(node.value)})"
    if node.operator in ORDERINGS:
        return _ordering(node, found)
    contains = f"(startsWith({found}, '\"') AND position({_text(found)}, {_operand(node)}) > 0)"
    if node.operator is Operator.CONTAINS:
        return contains
    return f"({found} != '' AND NOT {contains})"


def _ordering(node: Condition, found: str) -> str:
    sign = _ORDER_SIGNS[node.operator]
    if node.value.startswith('"'):
        return f"(startsWith({found}, '\"') AND {_text(found)} {sign} {_operand(node)})"
    return f"ifNull({number_of(found)} {sign} {number_of(literal(node.value))}, 0)"


def property_of(key: str) -> str:
    """Return the SQL of an event's metadata value as canonical text; empty where it is missing."""
    return f"metadata[{literal(key)}]"


def number_of(text: str) -> str:
    """Return the SQL of a canonical text as a Nullable(Decimal(76, 12)); NULL if no number."""
    return f"toDecimal256OrNull({text}, {NUMBER_PLACES_MAX})"


def _text(found: str) -> str:
    return f"JSONExtractString({found})"


def _operand(node: Condition) -> str:
    text = parse(node.value)
    assert isinstance(text, str), "only texts are compared as texts"
    return literal(text)
