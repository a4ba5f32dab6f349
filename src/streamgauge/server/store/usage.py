"""Usage: what a meter says for a window, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from streamgauge.core.clock import MINUTE_NS, to_ns
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.limits import GROUP_KEYS_MAX
from streamgauge.core.metadata import check_key
from streamgauge.server.metering import compile as compiled
from streamgauge.server.metering.meter import Meter
from streamgauge.server.store.engine import Engine
from streamgauge.server.store.events import micros
from streamgauge.server.store.rollups import quantity, tallies
from streamgauge.server.store.rows import Bucket, UsageRow

_BUCKET_STARTS: Final = {
    Bucket.MINUTE: "toStartOfMinute",
    Bucket.HOUR: "toStartOfHour",
    Bucket.DAY: "toStartOfDay",
    Bucket.MONTH: "toStartOfMonth",
}


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked.

    Attributes:
        start: Aware, on a whole minute; included.
        end: Aware, on a whole minute; excluded.
        group_by: Metadata keys to tell apart; these read events instead of rollups.
        up_to: Count only events up to this log position; this reads events instead of rollups.
    """

    meter: Meter
    business_id: str
    mode: str
    start: datetime
    end: datetime
    customer_id: str | None = None
    group_by: tuple[str, ...] = ()
    bucket: Bucket | None = None
    up_to: int | None = None


def check_window(start: datetime, end: datetime) -> None:
    """Check the bounds of a window.

    Raises:
        InvalidInputError: A bound is off the minute, or the window is empty.
    """
    for field, at in (("start", start), ("end", end)):
        if to_ns(at) % MINUTE_NS:
            raise InvalidInputError(field, at.isoformat(), "be on a whole UTC minute")
    if to_ns(start) >= to_ns(end):
        raise InvalidInputError("end", end.isoformat(), f"be after start, {start.isoformat()}")


def check_group_by(group_by: Sequence[str]) -> tuple[str, ...]:
    """Return the keys to group by.

    Raises:
        InvalidInputError: There are too many, twice the same, or one is no metadata key.
    """
    keys = tuple(check_key(key, field="group_by") for key in group_by)
    if len(keys) > GROUP_KEYS_MAX or len(set(keys)) != len(keys):
        raise InvalidInputError("group_by", keys, f"be at most {GROUP_KEYS_MAX} different keys")
    return keys


def read(engine: Engine, asked: UsageQuery, *, rolled_up: bool) -> list[UsageRow]:
    """Return one row per customer, group and bucket that has events, in that order.

    Raises:
        UnsupportedError: The meter's aggregation cannot be evaluated yet.
        UnavailableError: The engine refuses.
    """
    source = _from_rollup if rolled_up and not asked.group_by and asked.up_to is None else _from_raw
    select, where, time_column = source(asked)
    where += ["business_id = {business_id:String}", "mode = {mode:String}"]
    where += [f"{time_column} >= {micros('start')}", f"{time_column} < {micros('end')}"]
    parameters: dict[str, Any] = {
        "business_id": asked.business_id,
        "mode": asked.mode,
        "start": to_ns(asked.start) // 1_000,
        "end": to_ns(asked.end) // 1_000,
    }
    if asked.customer_id is not None:
        where.append("customer_id = {customer_id:String}")
        parameters["customer_id"] = asked.customer_id
    group_columns = [f"group_{place}" for place in range(len(asked.group_by))]
    columns = ["customer_id", *group_columns, "bucket"]
    query = (
        f"SELECT {_bucket(asked.bucket, time_column)} AS bucket, {select} "
        f"WHERE {' AND '.join(where)} GROUP BY {', '.join(columns)} ORDER BY {', '.join(columns)}"
    )
    return [_row(asked, row) for row in engine.rows(query, parameters)]


def _from_rollup(asked: UsageQuery) -> tuple[str, list[str], str]:
    # Other names than the columns', since an alias would hide the column it sums.
    select = (
        "customer_id, toString(sum(quantity)) AS total, sum(events) AS counted, "
        "sum(not_counted) AS skipped FROM streamgauge.usage_minutes"
    )
    return select, [f"meter_id = {compiled.literal(asked.meter.id)}"], "minute"


def _from_raw(asked: UsageQuery) -> tuple[str, list[str], str]:
    groups = "".join(
        f"metadata[{compiled.literal(key)}] AS group_{place}, "
        for place, key in enumerate(asked.group_by)
    )
    where = [compiled.condition(asked.meter)]
    if asked.up_to is not None:
        where.append(f"log_position <= {asked.up_to}")
    return (
        f"customer_id, {groups}{_sums(asked.meter)} FROM streamgauge.events",
        where,
        "timestamp",
    )


def _sums(meter: Meter) -> str:
    # As text: the client would make the decimal under its thread's precision.
    return f"toString({quantity(meter)}), {tallies(meter)}"


def _bucket(bucket: Bucket | None, column: str) -> str:
    if bucket is None:
        return "toUInt32(0)"
    return f"toUnixTimestamp(toDateTime({_BUCKET_STARTS[bucket]}({column}, 'UTC'), 'UTC'))"


def _row(asked: UsageQuery, row: tuple[Any, ...]) -> UsageRow:
    bucket, customer_id, *groups, total, events, not_counted = row
    return UsageRow(
        customer_id=customer_id,
        group=dict(zip(asked.group_by, groups, strict=True)),
        bucket=None if asked.bucket is None else datetime.fromtimestamp(bucket, UTC),
        quantity=Decimal(total),
        events=events,
        not_counted=not_counted,
    )
