# ruff: noqa: S608 - Values go through compile.literal; the rest is our own text.
"""A rollup as a source of usage: whole months and days from their tables, the rest by minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import MAXYEAR, datetime, timedelta
from typing import Final, NamedTuple

from streamgauge.server.metering import rollup_sql as sql
from streamgauge.server.metering.rollup import Rollup
from streamgauge.server.metering.windows import Window, without
from streamgauge.server.store.rows import Bucket
from streamgauge.server.store.usage import Source, UsageQuery, customer, within


class _Span(NamedTuple):
    table: str
    floor: Callable[[datetime], datetime]
    longest: timedelta


def serves(rollup: Rollup, asked: UsageQuery) -> bool:
    """Return whether ``rollup``, which covers the meter, can also tell the groups apart."""
    return asked.up_to is None and set(asked.group_by) <= set(rollup.shape.keys)


def over_rollup(rollup: Rollup, asked: UsageQuery) -> Source:
    """Return the rows of ``rollup`` as a source."""
    parts = {table: _where(windows, rollup, asked) for table, windows in _split(asked).items()}
    table, where = next(iter(parts.items()))
    if len(parts) > 1:
        columns = ", ".join(
            ["customer_id", "minute", "labels", *sql.used_columns(asked.meter, rollup)]
        )
        rows = [f"SELECT {columns} FROM {table} WHERE {where}" for table, where in parts.items()]
        table, where = f"({' UNION ALL '.join(rows)})", "1"
    return Source(
        table=table,
        where=where,
        time="minute",
        groups=tuple(sql.label(rollup, key) for key in asked.group_by),
        aggregates=sql.over_rollup(asked.meter, rollup),
    )


def _where(windows: Sequence[Window], rollup: Rollup, asked: UsageQuery) -> str:
    conditions = [sql.condition(asked.meter, rollup), *customer(asked), within(windows, "minute")]
    return " AND ".join(conditions)


def _split(asked: UsageQuery) -> dict[str, list[Window]]:
    """Return which parts of the windows are read from which table."""
    found = dict[str, list[Window]]()
    rest = list(asked.windows)
    for span in _LONGER.get(asked.bucket, ()):
        whole = [inner for window in rest if (inner := _whole(window, span)) is not None]
        rest = [part for window in rest for part in without(window, whole)]
        if whole:
            found[span.table] = whole
    if rest:
        found["minutes"] = rest
    return found


def _whole(window: Window, span: _Span) -> Window | None:
    """Return the whole spans within ``window``, None if there are none."""
    start, end = span.floor(window.start), span.floor(window.end)
    if start < window.start:
        if start.year == MAXYEAR:
            return None
        start = span.floor(start + span.longest)
    return Window(start=start, end=end) if start < end else None


def _day(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _month(at: datetime) -> datetime:
    return _day(at).replace(day=1)


_DAYS: Final = _Span("days", _day, timedelta(days=1))
_MONTHS: Final = _Span("months", _month, timedelta(days=32))
_LONGER: Final[dict[Bucket | None, tuple[_Span, ...]]] = {
    None: (_MONTHS, _DAYS),
    Bucket.MONTH: (_MONTHS, _DAYS),
    Bucket.DAY: (_DAYS,),
}
