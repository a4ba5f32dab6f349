"""A meter as SQL over the event columns ``event_name`` and ``metadata`` (canonical JSON texts).

A canonical text is never empty, so ``metadata[key] = ''`` means that the property is missing.
"""

from __future__ import annotations

from typing import Final

from streamgauge.core.errors import UnsupportedError
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


def value(meter: Meter) -> str:
    """Return the SQL expression of what one event adds, a Nullable(Decimal(76, 12)).

    NULL means that the event is taken but holds no number to add.

    Raises:
        UnsupportedError: The aggregation cannot be evaluated yet.
    """
    aggregation = meter.aggregation
    if aggregation.type is AggregationType.COUNT:
        return f"toDecimal256OrNull('1', {NUMBER_PLACES_MAX})"
    if aggregation.type is not AggregationType.SUM or aggregation.key is None:
        raise UnsupportedError(
            f"aggregation {aggregation.type} of meter {meter.id} cannot be evaluated yet; "
            "count and sum can"
        )
    return _number(_property(aggregation.key))


def clause(node: Filter | Condition) -> str:
    """Return the SQL predicate (0 or 1, never NULL) of a filter or a condition."""
    if isinstance(node, Filter):
        sign = " AND " if node.conjunction is Conjunction.AND else " OR "
        return f"({sign.join(clause(inner) for inner in node.clauses)})"
    found = _property(node.key)
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
    return f"ifNull({_number(found)} {sign} {_number(literal(node.value))}, 0)"


def _property(key: str) -> str:
    return f"metadata[{literal(key)}]"


def _number(text: str) -> str:
    return f"toDecimal256OrNull({text}, {NUMBER_PLACES_MAX})"


def _text(found: str) -> str:
    return f"JSONExtractString({found})"


def _operand(node: Condition) -> str:
    text = parse(node.value)
    assert isinstance(text, str), "only texts are compared as texts"
    return literal(text)
