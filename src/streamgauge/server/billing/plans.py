"""What to know about a meter in a default plan: other meters in its way, and Dodo's figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from streamgauge.server.metering.filters import Condition, Conjunction, Filter, Operator, describe
from streamgauge.server.metering.meter import Meter
from streamgauge.server.rating.money import exact_text, places
from streamgauge.server.rating.price import MeterPrice, price_per_raw_unit

DODO_PLACES_MAX: Final = 12
DODO_DIGITS_MAX: Final = 5


class DodoFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What to type into Dodo's dashboard for the same bill.

    Attributes:
        event_name: Of the meter.
        aggregation: Of the meter.
        over_property: Of the meter; None for a count.
        measurement_unit: Of the meter; a label there too.
        filter: Of the meter, for people.
        currency: ISO 4217.
        price_per_unit: Minor units per raw unit, exact; what Dodo's API takes.
        price_per_unit_major: The same in whole currency; what a form in whole currency takes.
        free_threshold: Raw units per billing cycle.
        warnings: What Dodo cannot hold.
    """

    event_name: str
    aggregation: str
    over_property: str | None
    measurement_unit: str
    filter: str | None
    currency: str
    price_per_unit: str
    price_per_unit_major: str
    free_threshold: int
    warnings: tuple[str, ...]


def dodo_figures(meter: Meter, price: MeterPrice, currency: str) -> DodoFigures:
    """Return what to type into Dodo's dashboard for ``meter`` at ``price``."""
    per_raw_unit = price_per_raw_unit(price)
    minor = exact_text(per_raw_unit)
    return DodoFigures(
        event_name=meter.event_name,
        aggregation=meter.aggregation.type.value,
        over_property=meter.aggregation.key,
        measurement_unit=meter.measurement_unit,
        filter=None if meter.filter is None else describe(meter.filter),
        currency=currency,
        price_per_unit=minor,
        price_per_unit_major=exact_text(per_raw_unit / 10 ** places(currency)),
        free_threshold=price.free_threshold or 0,
        warnings=_warnings(minor, price.free_threshold or 0),
    )


def overlaps(meter: Meter, others: Sequence[Meter]) -> list[Meter]:
    """Return those of ``others`` that may bill an event that ``meter`` bills too."""
    return [
        other
        for other in others
        if other.id != meter.id
        and other.event_name == meter.event_name
        and not _apart(meter.filter, other.filter)
    ]


def _apart(one: Filter | None, other: Filter | None) -> bool:
    """Return whether no event passes both: each demands another value of the same key."""
    mine, theirs = _demanded(one), _demanded(other)
    return any(theirs.get(key, value) != value for key, value in mine.items())


def _demanded(filter: Filter | None) -> dict[str, str]:
    if filter is None or (filter.conjunction is Conjunction.OR and len(filter.clauses) > 1):
        return {}
    return {
        clause.key: clause.value
        for clause in filter.clauses
        if isinstance(clause, Condition) and clause.operator is Operator.EQUALS
    }


def _warnings(minor: str, free_threshold: int) -> tuple[str, ...]:
    whole, _, part = minor.partition(".")
    found = []
    if len(part) > DODO_PLACES_MAX or len(whole) > DODO_DIGITS_MAX:
        found.append(
            f"price_per_unit has {len(part)} decimal places and {len(whole)} digits before the "
            f"point; Dodo takes {DODO_PLACES_MAX} and {DODO_DIGITS_MAX}, so it cannot bill this "
            "price exactly. Choose a decimal unit (GB, not GiB), or another price."
        )
    if free_threshold >= 2**63:
        found.append("free_threshold is above the largest that Dodo takes, 2^63 - 1.")
    return tuple(found)
