"""Usage: what a meter says for a window, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final

import msgspec

from streamgauge.core.clock import MINUTE_NS, to_ns
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.limits import GROUP_KEYS_MAX
from streamgauge.core.metadata import check_key
from streamgauge.server.metering import compile as compiled
from streamgauge.server.metering.meter import AggregationType, Meter
from streamgauge.server.metering.windows import Window
from streamgauge.server.store.engine import Engine
from streamgauge.server.store.rows import Bucket, UsageRow
from streamgauge.server.store.view import View, instant

_BUCKET_STARTS: Final = {
    Bucket.MINUTE: "toStartOfMinute",
    Bucket.HOUR: "toStartOfHour",
    Bucket.DAY: "toStartOfDay",
    Bucket.MONTH: "toStartOfMonth",
}


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked.

    Attributes:
        windows: When; without overlap. One row covers all of them together.
        by_customer: A row per customer; else all customers are one.
        group_by: Metadata keys to tell apart.
        bucket: How time is cut; not at all if None.
        up_to: Count only events up to this log position; this reads events instead of rollups.
        top: Only so many rows, those with the most.
    """

    meter: Meter
    business_id: str
    mode: str
    windows: tuple[Window, ...]
    customer_id: str | None = None
    by_customer: bool = True
    group_by: tuple[str, ...] = ()
    bucket: Bucket | None = None
    up_to: int | None = None
    top: int | None = None


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where usage is read from, as SQL.

    Attributes:
        table: A table or a subquery.
        where: Which of its rows.
        time: The column of time.
        groups: The SQL of the metadata values to group by.
        aggregates: What the meter says.
    """

    table: str
    where: str
    time: str
    groups: tuple[str, ...]
    aggregates: compiled.Aggregates


def check_window(start: datetime, end: datetime) -> Window:
    """Return a window whose bounds are good.

    Raises:
        InvalidInputError: A bound is off the minute, or the window is empty.
    """
    for field, at in (("start", start), ("end", end)):
        if to_ns(at) % MINUTE_NS:
            raise InvalidInputError(field, at.isoformat(), "be on a whole UTC minute")
    if to_ns(start) >= to_ns(end):
        raise InvalidInputError("end", end.isoformat(), f"be after start, {start.isoformat()}")
    return Window(start=start, end=end)


def check_group_by(group_by: Sequence[str]) -> tuple[str, ...]:
    """Return the keys to group by.

    Raises:
        InvalidInputError: There are too many, twice the same, or one is no metadata key.
    """
    keys = tuple(check_key(key, field="group_by") for key in group_by)
    if len(keys) > GROUP_KEYS_MAX or len(set(keys)) != len(keys):
        raise InvalidInputError("group_by", keys, f"be at most {GROUP_KEYS_MAX} different keys")
    return keys


def over_events(asked: UsageQuery, view: View) -> Source:
    """Return the events themselves as a source.

    Raises:
        UnavailableError: Some are archived, and cannot be read.
    """
    where = [
        f"business_id = {compiled.literal(asked.business_id)}",
        f"mode = {compiled.literal(asked.mode)}",
        compiled.condition(asked.meter),
        within(asked.windows, "timestamp"),
        *customer(asked),
    ]
    if asked.up_to is not None:
        where.append(f"log_position <= {asked.up_to}")
    rows = view.rows(
        " AND ".join(where),
        start=min(window.start for window in asked.windows),
        end=max(window.end for window in asked.windows),
        customer_id=asked.customer_id,
    )
    return Source(
        table=rows.table,
        where=rows.where,
        time="timestamp",
        groups=tuple(compiled.property_of(key) for key in asked.group_by),
        aggregates=compiled.over_events(asked.meter),
    )


def read(engine: Engine, asked: UsageQuery, source: Source) -> list[UsageRow]:
    """Return one row per customer, group and bucket that has events, in that order.

    With ``top`` the largest come first.

    Raises:
        UnavailableError: The engine refuses.
    """
    groups = [f"group_{place}" for place in range(len(source.groups))]
    columns = {
        "bucket": _bucket(asked.bucket, source.time),
        "customer": "customer_id" if asked.by_customer else "''",
        **dict(zip(groups, source.groups, strict=True)),
    }
    selected = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    keys = ", ".join(["customer", *groups, "bucket"])
    amount, events, not_counted = source.aggregates
    order, limit = keys, ""
    if asked.top is not None:
        averaged = asked.meter.aggregation.type is AggregationType.AVG
        size = f"{amount} / greatest({events}, 1)" if averaged else amount
        order, limit = f"{size} DESC, {keys}", f"LIMIT {asked.top}"
    # Other names than the columns', since an alias would hide the column it sums. The quantity
    # travels as text: the client would make the decimal under its thread's precision.
    query = (
        f"SELECT {selected}, toString({amount}) AS quantity, {events} AS counted, "  # noqa: S608
        f"{not_counted} AS skipped FROM {source.table} WHERE {source.where} "
        f"GROUP BY {keys} ORDER BY {order} {limit}"
    )
    found = [_row(asked, row) for row in engine.rows(query)]
    # Without anything to group by, the engine gives a row of nothing.
    return [row for row in found if row.events or row.not_counted]


def customer(asked: UsageQuery) -> list[str]:
    """Return the condition on customers, if there is one."""
    if asked.customer_id is None:
        return []
    return [f"customer_id = {compiled.literal(asked.customer_id)}"]


def within(windows: Sequence[Window], column: str) -> str:
    """Return the condition on a column of time."""
    spans = [
        f"({column} >= {instant(window.start)} AND {column} < {instant(window.end)})"
        for window in windows
    ]
    return f"({' OR '.join(spans)})"


def _bucket(bucket: Bucket | None, column: str) -> str:
    if bucket is None:
        return "toUInt32(0)"
    return f"toUnixTimestamp(toDateTime({_BUCKET_STARTS[bucket]}({column}, 'UTC'), 'UTC'))"


def _row(asked: UsageQuery, row: tuple[Any, ...]) -> UsageRow:
    bucket, customer_id, *groups, quantity, events, not_counted = row
    averaged = asked.meter.aggregation.type is AggregationType.AVG
    return UsageRow(
        customer_id=customer_id,
        group=dict(zip(asked.group_by, groups, strict=True)),
        bucket=None if asked.bucket is None else datetime.fromtimestamp(bucket, UTC),
        quantity=Fraction(quantity) / max(events if averaged else 1, 1),
        events=events,
        not_counted=not_counted,
    )
