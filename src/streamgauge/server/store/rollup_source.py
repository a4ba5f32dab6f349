# ruff: noqa: S608 - Values go through compile.literal; the rest is our own text.
"""A rollup as a source of usage: whole days from days, the rest from minutes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from streamgauge.server.metering import rollup_sql as sql
from streamgauge.server.metering.rollup import Rollup
from streamgauge.server.metering.windows import Window
from streamgauge.server.store.rows import Bucket
from streamgauge.server.store.usage import Source, UsageQuery, customer, within

_DAY: Final = timedelta(days=1)


def serves(rollup: Rollup, asked: UsageQuery) -> bool:
    """Return whether ``rollup``, which covers the meter, can also tell the groups apart."""
    return asked.up_to is None and set(asked.group_by) <= set(rollup.shape.keys)


def over_rollup(rollup: Rollup, asked: UsageQuery) -> Source:
    """Return the rows of ``rollup`` as a source."""
    by_minute, by_day = _split(asked)
    parts = [
        _rows(table, windows, rollup, asked)
        for table, windows in (("minutes", by_minute), ("days", by_day))
        if windows
    ]
    return Source(
        table=f"({' UNION ALL '.join(parts)})",
        where="1",
        time="minute",
        groups=tuple(sql.label(rollup, key) for key in asked.group_by),
        aggregates=sql.over_rollup(asked.meter, rollup),
    )


def _rows(table: str, windows: Sequence[Window], rollup: Rollup, asked: UsageQuery) -> str:
    columns = ", ".join(["customer_id, minute, labels", *sql.used_columns(asked.meter, rollup)])
    where = [sql.condition(asked.meter, rollup), within(windows, "minute"), *customer(asked)]
    return f"SELECT {columns} FROM streamgauge.{table} WHERE {' AND '.join(where)}"


def _split(asked: UsageQuery) -> tuple[list[Window], list[Window]]:
    """Return the parts of the windows that are read by the minute, and those by the day."""
    if asked.bucket in {Bucket.MINUTE, Bucket.HOUR}:
        return list(asked.windows), []
    by_minute, by_day = list[Window](), list[Window]()
    for window in asked.windows:
        first = _midnight(window.start + _DAY - timedelta(microseconds=1))
        last = _midnight(window.end)
        if first >= last:
            by_minute.append(window)
            continue
        by_day.append(Window(start=first, end=last))
        edges = (Window(start=window.start, end=first), Window(start=last, end=window.end))
        by_minute += [edge for edge in edges if edge.start < edge.end]
    return by_minute, by_day


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
