"""A meter: which events it takes and how it adds them up, in Dodo's words."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.metadata import check_key
from streamgauge.server.metering.filters import Filter, FilterNode, describe, write_filter


class AggregationType(StrEnum):
    """How a meter turns events into a quantity; the value is the word on the wire."""

    COUNT = "count"
    SUM = "sum"
    MAX = "max"
    LAST = "last"
    UNIQUE = "unique"
    AVG = "avg"


ADDITIVE: Final = frozenset({AggregationType.COUNT, AggregationType.SUM})
"""Of these, the usage of two windows or customers together is the sum of both."""


class Aggregation(msgspec.Struct, frozen=True, kw_only=True):
    """How events add up.

    Attributes:
        type: ``count``, ``sum``, ``max`` and ``last`` as in Dodo's API; ``unique`` (how many
            different values) and ``avg`` (sum by number of values) are ours.
        key: The metadata value that is added up; none for a count.
    """

    type: AggregationType
    key: str | None = None


class Meter(msgspec.Struct, frozen=True, kw_only=True):
    """A meter of one business and mode.

    Attributes:
        id: Begins with ``mtr_``.
        business_id: Whose it is.
        mode: ``test_mode`` or ``live_mode``.
        name: For people.
        event_name: Events with exactly this name are taken.
        measurement_unit: A label; it never converts.
        aggregation: How events add up.
        description: For people.
        filter: Which of those events are taken; all of them without one.
        created_at: Aware.
        updated_at: Aware.
        archived_at: Aware; None while it is in use.
    """

    id: str
    business_id: str
    mode: str
    name: str
    event_name: str
    measurement_unit: str
    aggregation: Aggregation
    description: str | None = None
    filter: Filter | None = None
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None


class MeterAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A meter as it stands on the wire: Dodo's fields and no others."""

    id: str
    business_id: str
    name: str
    event_name: str
    measurement_unit: str
    aggregation: Aggregation
    description: str | None
    filter: FilterNode | None
    created_at: datetime
    updated_at: datetime


def answer(meter: Meter) -> MeterAnswer:
    """Return ``meter`` as it stands on the wire."""
    return MeterAnswer(
        id=meter.id,
        business_id=meter.business_id,
        name=meter.name,
        event_name=meter.event_name,
        measurement_unit=meter.measurement_unit,
        aggregation=meter.aggregation,
        description=meter.description,
        filter=None if meter.filter is None else write_filter(meter.filter),
        created_at=meter.created_at,
        updated_at=meter.updated_at,
    )


def check_aggregation(aggregation: Aggregation, *, field: str = "aggregation") -> Aggregation:
    """Return ``aggregation`` as it is kept; the key of a count means nothing and is dropped.

    Raises:
        InvalidInputError: It needs a key and has none, or the key cannot name a metadata value.
    """
    if aggregation.type is AggregationType.COUNT:
        return Aggregation(type=aggregation.type)
    if aggregation.key is None:
        raise InvalidInputError(
            f"{field}.key", None, f"name a metadata value when the type is {aggregation.type}"
        )
    check_key(aggregation.key, field=f"{field}.key")
    return aggregation


def describe_meter(meter: Meter) -> str:
    """Return what ``meter`` measures, for people."""
    aggregation = meter.aggregation
    what = aggregation.type.value + (f" of {aggregation.key}" if aggregation.key else "")
    where = f" where {describe(meter.filter)}" if meter.filter is not None else ""
    return f"{what} over events named {meter.event_name}{where}"
