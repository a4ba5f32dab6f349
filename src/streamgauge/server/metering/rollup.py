"""What is kept by the minute: one rollup per event name, shared by all meters over it.

A rollup keeps, per customer and minute, the events of one name apart by ``labels``: the values of
the metadata keys that filters ask to be equal to something, and the answers of all other
conditions. So a filter is decided on labels, meters that differ only by it share rows, and the cost
of an event does not grow with the number of meters. A rollup never changes; a meter that needs
more gets a new one that covers the old one too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from streamgauge.server.metering.filters import Condition, Filter, Operator
from streamgauge.server.metering.meter import AggregationType, Meter


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollup keeps.

    Attributes:
        keys: Metadata keys whose values are labels.
        conditions: Conditions whose answers are labels, after those of ``keys``.
        numbers: Metadata keys whose numbers are counted and summed.
        maxima: Those of ``numbers`` whose greatest number is kept.
        lasts: Those of ``numbers`` whose last number is kept.
        uniques: Metadata keys whose different values are kept.
    """

    keys: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    numbers: tuple[str, ...] = ()
    maxima: tuple[str, ...] = ()
    lasts: tuple[str, ...] = ()
    uniques: tuple[str, ...] = ()

    def plus(self, other: Shape) -> Shape:
        """Return a shape that keeps what both do; a condition on a kept key needs no label."""
        merged = {
            field: tuple(dict.fromkeys((*getattr(self, field), *getattr(other, field))))
            for field in self.__struct_fields__
        }
        merged["conditions"] = tuple(
            one for one in merged["conditions"] if one.key not in merged["keys"]
        )
        return Shape(**merged)

    def covers(self, needed: Shape) -> bool:
        """Return whether everything ``needed`` can be read from this shape."""
        return self.plus(needed) == self


class Rollup(msgspec.Struct, frozen=True, kw_only=True):
    """A rollup of the events of one name, of one business and mode.

    Attributes:
        id: From 1; the first column of its rows.
        business_id: Whose.
        mode: ``test_mode`` or ``live_mode``.
        event_name: Events with exactly this name.
        shape: What is kept of them.
        cut: A log position: events after it are rolled up as they are inserted, those up to it
            by a backfill.
    """

    id: int
    business_id: str
    mode: str
    event_name: str
    shape: Shape
    cut: int

    @property
    def scope(self) -> tuple[str, str, str]:
        """Return business, mode and event name."""
        return self.business_id, self.mode, self.event_name


def scope(meter: Meter) -> tuple[str, str, str]:
    """Return business, mode and event name of what ``meter`` takes."""
    return meter.business_id, meter.mode, meter.event_name


def needs(meter: Meter, *, wide: Iterable[str] = ()) -> Shape:
    """Return what ``meter`` needs to be kept.

    Args:
        meter: The meter.
        wide: Metadata keys with so many values that they must not be labels.
    """
    kind, key = meter.aggregation.type, meter.aggregation.key
    conditions = () if meter.filter is None else tuple(leaves(meter.filter))
    equal = {Operator.EQUALS, Operator.NOT_EQUALS}
    keys = tuple(one.key for one in conditions if one.operator in equal and one.key not in wide)
    own = () if key is None else (key,)
    unique = kind is AggregationType.UNIQUE
    whole = Shape(
        keys=keys,
        conditions=conditions,
        numbers=() if unique else own,
        maxima=own if kind is AggregationType.MAX else (),
        lasts=own if kind is AggregationType.LAST else (),
        uniques=own if unique else (),
    )
    return Shape().plus(whole)


def leaves(node: Filter | Condition) -> Iterator[Condition]:
    """Yield the conditions of a filter, from left to right."""
    if isinstance(node, Condition):
        yield node
    else:
        for inner in node.clauses:
            yield from leaves(inner)
