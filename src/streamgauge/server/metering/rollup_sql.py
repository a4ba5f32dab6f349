# ruff: noqa: S608 - Texts go through compile.literal; the rest is our own.
"""Rollups as SQL: from events to minutes, from minutes to longer spans, from all to usage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from streamgauge.core.limits import NUMBER_PLACES_MAX
from streamgauge.server.metering import compile as compiled
from streamgauge.server.metering.compile import ZERO, Aggregates, literal, number_of, property_of
from streamgauge.server.metering.filters import Condition
from streamgauge.server.metering.meter import AggregationType, Meter
from streamgauge.server.metering.rollup import Rollup, Shape

# Canonical texts escape control characters, so this stands in none of them.
_BETWEEN: Final = "'\\x1F'"
_NUMBER: Final = f"Decimal(76, {NUMBER_PLACES_MAX})"


class Column(NamedTuple):
    """A column of a rollup.

    Attributes:
        name: Its name.
        type: Its SQL type, with its codec.
        made: The aggregate that makes it from events.
    """

    name: str
    type: str
    made: str


def columns(rollups: Sequence[Rollup]) -> list[Column]:
    """Return what is kept besides customer, time and labels; rollups share columns by place."""
    found = [Column("events", "SimpleAggregateFunction(sum, UInt64)", "count()")]
    for place in range(max((len(one.shape.numbers) for one in rollups), default=0)):
        found += _number_columns(rollups, place)
    for place in range(max((len(one.shape.uniques) for one in rollups), default=0)):
        text = f"text_{place}"
        state = f"uniqExactStateIf({text}, {text} != '')"
        found += [
            _summed(f"valued_{place}", "UInt64", f"countIf({text} != '')"),
            Column(f"unique_{place}", "AggregateFunction(uniqExact, String)", state),
        ]
    return found


def minutes(rollups: Sequence[Rollup], *, backfill: str | None = None) -> str:
    """Return the query that makes minutes of events.

    Args:
        rollups: Those that are kept; what is up to their cut is left out.
        backfill: Events, as SQL behind FROM: only these, of the one rollup given, whatever its cut.
    """
    if backfill is None:
        source = f"SELECT {_ids(rollups)} AS rollup_id, {_TAKEN} FROM events"
    else:
        (one,) = rollups
        source = f"SELECT {one.id} AS rollup_id, {_TAKEN} FROM {backfill}"
    numbers = [
        f"{number_of(_by_rollup(rollups, lambda shape: shape.numbers, place))} AS number_{place}"
        for place in range(max(len(one.shape.numbers) for one in rollups))
    ]
    texts = [
        f"{_by_rollup(rollups, lambda shape: shape.uniques, place)} AS text_{place}"
        for place in range(max(len(one.shape.uniques) for one in rollups))
    ]
    inner = ", ".join(
        [
            "toUInt32(rollup_id) AS rollup_id, customer_id, timestamp, log_position",
            "toDateTime(toStartOfMinute(timestamp), 'UTC') AS minute",
            f"toLowCardinality({_labels(rollups)}) AS labels",
            *numbers,
            *texts,
        ]
    )
    made = ", ".join(f"{column.made} AS {column.name}" for column in columns(rollups))
    return (
        f"SELECT rollup_id, customer_id, minute, labels, {made} "
        f"FROM (SELECT {inner} FROM ({source}) WHERE rollup_id != 0) "
        "GROUP BY rollup_id, customer_id, minute, labels"
    )


def coarser(rollups: Sequence[Rollup], table: str, start: str) -> str:
    """Return the query that makes longer spans of the spans in ``table``.

    Rows of one span are not added up here: the engine does that when it sorts what is inserted, and
    nearly none of an insert are.

    Args:
        rollups: Those that are kept.
        table: What it is made from.
        start: The function that gives the start of the longer span.
    """
    kept = ", ".join(column.name for column in columns(rollups))
    return (
        f"SELECT rollup_id, customer_id, toDateTime({start}(minute, 'UTC'), 'UTC') AS minute, "
        f"labels, {kept} FROM {table}"
    )


def over_rollup(meter: Meter, rollup: Rollup) -> Aggregates:
    """Return the SQL of what ``meter`` says over the rows of a rollup that covers it."""
    kind, key = meter.aggregation.type, meter.aggregation.key
    if key is None:
        return Aggregates("sum(events)", "sum(events)", "toUInt64(0)")
    if kind is AggregationType.UNIQUE:
        place = rollup.shape.uniques.index(key)
        counted, quantity = f"sum(valued_{place})", f"uniqExactMerge(unique_{place})"
    else:
        place = rollup.shape.numbers.index(key)
        counted, quantity = f"sum(counted_{place})", f"sum(sum_{place})"
    if kind is AggregationType.MAX:
        quantity = f"ifNull(max(max_{place}), {ZERO})"
    if kind is AggregationType.LAST:
        quantity = f"tupleElement(max(last_{place}), 3)"
    return Aggregates(quantity, counted, f"toUInt64(sum(events) - {counted})")


def used_columns(meter: Meter, rollup: Rollup) -> list[str]:
    """Return the columns that ``over_rollup`` reads."""
    wanted = " ".join(over_rollup(meter, rollup))
    return [column.name for column in columns([rollup]) if f"({column.name})" in wanted]


def condition(meter: Meter, rollup: Rollup) -> str:
    """Return the SQL predicate of the rows of ``rollup`` that ``meter`` takes."""
    if meter.filter is None:
        return f"rollup_id = {rollup.id}"

    def leaf(one: Condition) -> str:
        if one.key in rollup.shape.keys:
            return compiled.comparison(one, label(rollup, one.key))
        place = len(rollup.shape.keys) + rollup.shape.conditions.index(one)
        return f"{_label(rollup, place)} = '1'"

    return f"(rollup_id = {rollup.id} AND {compiled.clause(meter.filter, leaf)})"


def label(rollup: Rollup, key: str) -> str:
    """Return the SQL of the value of one of the keys of ``rollup``, as canonical text."""
    return _label(rollup, rollup.shape.keys.index(key))


def _label(rollup: Rollup, place: int) -> str:
    if len(rollup.shape.keys) + len(rollup.shape.conditions) == 1:
        return "labels"
    return f"splitByChar({_BETWEEN}, labels)[{place + 1}]"


_TAKEN: Final = "customer_id, timestamp, log_position, metadata"


def _summed(name: str, type: str, made: str) -> Column:
    return Column(name, f"SimpleAggregateFunction(sum, {type})", made)


def _number_columns(rollups: Sequence[Rollup], place: int) -> list[Column]:
    number = f"number_{place}"
    found = [
        _summed(f"counted_{place}", "UInt64", f"countIf({number} IS NOT NULL)"),
        _summed(f"sum_{place}", _NUMBER, f"sum(ifNull({number}, {ZERO}))"),
    ]
    own = [one for one in rollups if place < len(one.shape.numbers)]
    greatest = [one for one in own if one.shape.numbers[place] in one.shape.maxima]
    latest = [one for one in own if one.shape.numbers[place] in one.shape.lasts]
    instant = f"(timestamp, log_position, assumeNotNull({number}))"
    for name, type, value, keeping in (
        ("max", f"Nullable({_NUMBER})", number, greatest),
        ("last", f"Tuple(DateTime64(6, 'UTC'), UInt64, {_NUMBER})", instant, latest),
    ):
        if keeping:
            # Others would pay for it, in time and on disk.
            wanted = [str(one.id) for one in keeping]
            taken = f"{number} IS NOT NULL AND rollup_id IN ({', '.join(wanted)})"
            column = f"{name}_{place}"
            kept = f"SimpleAggregateFunction(max, {type})"
            found.append(Column(column, kept, f"maxIf({value}, {taken})"))
    return found


def _ids(rollups: Sequence[Rollup]) -> str:
    """Return the SQL of the rollups that an event belongs to, 0 for none.

    An event name has one rollup, and a second one only while that is being filled; then a row
    becomes two.
    """
    ranks = list[list[Rollup]]()
    for one in rollups:
        for rank in ranks:
            if all(one.scope != other.scope for other in rank):
                rank.append(one)
                break
        else:
            ranks.append([one])
    ids = [_id(rank) for rank in ranks]
    if len(ids) == 1:
        return ids[0]
    return f"arrayJoin(arrayFilter(id -> id != 0, [{', '.join(ids)}]))"


def _id(rollups: Sequence[Rollup]) -> str:
    """Return the SQL of the one rollup among ``rollups`` that an event belongs to, or 0."""
    branches = []
    for business_id, mode in sorted({(one.business_id, one.mode) for one in rollups}):
        own = [one for one in rollups if (one.business_id, one.mode) == (business_id, mode)]
        names = _array(literal(one.event_name) for one in own)
        id = f"toUInt32(transform(event_name, {names}, {_array(one.id for one in own)}, 0))"
        if any(one.cut for one in own):
            cuts = _array(f"toUInt64({one.cut})" for one in own)
            cut = f"transform(event_name, {names}, {cuts}, toUInt64(0))"
            id = f"if(log_position > {cut}, {id}, 0)"
        branches.append(f"business_id = {literal(business_id)} AND mode = {literal(mode)}, {id}")
    return f"toUInt32(multiIf({', '.join(branches)}, 0))"


def _labels(rollups: Sequence[Rollup]) -> str:
    return _choice(rollups, _joined)


def _joined(shape: Shape) -> str:
    parts = [property_of(key) for key in shape.keys]
    parts += [f"if({compiled.clause(one)}, '1', '')" for one in shape.conditions]
    if len(parts) <= 1:
        return parts[0] if parts else "''"
    return f"concat({f', {_BETWEEN}, '.join(parts)})"


def _by_rollup(
    rollups: Sequence[Rollup], keys: Callable[[Shape], tuple[str, ...]], place: int
) -> str:
    def text(shape: Shape) -> str:
        return property_of(keys(shape)[place]) if place < len(keys(shape)) else "''"

    return _choice(rollups, text)


def _choice(rollups: Sequence[Rollup], sql: Callable[[Shape], str]) -> str:
    """Return the SQL that is right for the rollup of a row; those that agree share a branch."""
    by_sql = dict[str, list[int]]()
    for one in rollups:
        by_sql.setdefault(sql(one.shape), []).append(one.id)
    if len(by_sql) == 1:
        return next(iter(by_sql))
    branches = [
        f"rollup_id IN ({', '.join(map(str, ids))}), {text}" for text, ids in by_sql.items()
    ]
    return f"multiIf({', '.join(branches)}, '')"


def _array(items: Iterable[object]) -> str:
    return f"[{', '.join(map(str, items))}]"
