"""What a meter means, in Python: the reference that the compiled SQL is tested against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from operator import ge, gt, le, lt
from typing import Final

import msgspec

from streamgauge.core.events import UsageEvent
from streamgauge.core.metadata import Scalar, parse
from streamgauge.server.metering.filters import Condition, Conjunction, Filter, Operator
from streamgauge.server.metering.meter import Aggregation, AggregationType, Meter

_ORDERS: Final = {
    Operator.GREATER_THAN: gt,
    Operator.GREATER_THAN_OR_EQUALS: ge,
    Operator.LESS_THAN: lt,
    Operator.LESS_THAN_OR_EQUALS: le,
}


class Measured(msgspec.Struct, frozen=True):
    """What a meter says: an exact quantity, and how many events made it or held no number."""

    quantity: Fraction
    events: int
    not_counted: int


def measure(meter: Meter, events: Iterable[UsageEvent]) -> Measured:
    """Return what ``meter`` says of ``events``, given in log order."""
    taken = [event for event in events if takes(meter, event)]
    # A stable sort: of equal timestamps, the later in the log stays the later.
    taken.sort(key=lambda event: event.timestamp)
    parts = [part for event in taken if (part := adds(meter, event.metadata)) is not None]
    quantity = _aggregate(meter.aggregation, parts, taken)
    return Measured(quantity, len(parts), len(taken) - len(parts))


def takes(meter: Meter, event: UsageEvent) -> bool:
    """Return whether ``meter`` takes ``event``."""
    named = event.event_name == meter.event_name
    return named and (meter.filter is None or holds(meter.filter, event.metadata))


def adds(meter: Meter, metadata: Mapping[str, str]) -> Fraction | None:
    """Return what an event of canonical ``metadata`` brings, or None if it is not counted.

    It is the number under the meter's key; 1 for a count and for any value of ``unique``.
    """
    key = meter.aggregation.key
    if key is None or (meter.aggregation.type is AggregationType.UNIQUE and key in metadata):
        return Fraction(1)
    found = parse(metadata.get(key, "false"))
    return None if isinstance(found, bool | str) else Fraction(found)


def holds(clause: Filter | Condition, metadata: Mapping[str, str]) -> bool:
    """Return whether ``clause`` is true of canonical ``metadata``; never if its key is missing."""
    if isinstance(clause, Filter):
        joined = all if clause.conjunction is Conjunction.AND else any
        return joined(holds(inner, metadata) for inner in clause.clauses)
    if clause.key not in metadata:
        return False
    return _compare(clause.operator, parse(metadata[clause.key]), parse(clause.value))


def _aggregate(
    aggregation: Aggregation, parts: Sequence[Fraction], taken: Sequence[UsageEvent]
) -> Fraction:
    match aggregation.type:
        case AggregationType.COUNT | AggregationType.SUM:
            return sum(parts, Fraction(0))
        case AggregationType.MAX:
            return max(parts, default=Fraction(0))
        case AggregationType.LAST:
            return parts[-1] if parts else Fraction(0)
        case AggregationType.AVG:
            return sum(parts, Fraction(0)) / max(len(parts), 1)
        case AggregationType.UNIQUE:
            found = {event.metadata.get(aggregation.key or "") for event in taken}
            return Fraction(len(found - {None}))


def _compare(operator: Operator, found: Scalar, asked: Scalar) -> bool:
    alike = _kind(found) is _kind(asked)
    match operator:
        case Operator.EQUALS | Operator.NOT_EQUALS:
            return (alike and found == asked) is (operator is Operator.EQUALS)
        case Operator.CONTAINS | Operator.DOES_NOT_CONTAIN:
            contains = isinstance(found, str) and isinstance(asked, str) and asked in found
            return contains is (operator is Operator.CONTAINS)
        case _:
            return alike and not isinstance(found, bool) and bool(_ORDERS[operator](found, asked))


def _kind(value: Scalar) -> type:
    return Decimal if isinstance(value, int) and not isinstance(value, bool) else type(value)
