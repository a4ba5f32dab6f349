# ruff: noqa: S608 - Values go through compile.literal; the rest is our own text.
"""Minute rollups: one view per meter, exact across restarts.

A rollup fixes a cut, a log position: its view takes what is inserted after it, the backfill what
was stored up to it. The view's comment keeps the cut, so that a process that died in between
goes on with the same one; every backfilled chunk has a token, so that doing it twice is doing it
once.
"""

from __future__ import annotations

import re
from typing import Final

from streamgauge.core.limits import BACKFILL_CHUNK_ROWS
from streamgauge.server.metering import compile as compiled
from streamgauge.server.metering.meter import ADDITIVE, Meter
from streamgauge.server.store.engine import Engine
from streamgauge.server.store.schema import INSERT_SETTINGS
from streamgauge.server.store.usage import Source, UsageQuery

_METER_ID: Final = re.compile(r"[A-Za-z0-9_]{1,100}")


def can_roll_up(meter: Meter) -> bool:
    """Tell whether minutes of this meter add up to its usage."""
    return meter.aggregation.type in ADDITIVE and _METER_ID.fullmatch(meter.id) is not None


def view_name(meter: Meter) -> str:
    """Return the name of a meter's view."""
    assert _METER_ID.fullmatch(meter.id), "can_roll_up was asked before"
    return f"rollup_{meter.id}"


def filled(engine: Engine) -> set[str]:
    """Return the views whose backfill is complete."""
    return {view for (view,) in engine.rows("SELECT view FROM streamgauge.rollups_filled")}


def ensure(engine: Engine, meter: Meter, cut: int) -> None:
    """Make the rollup of ``meter``, or finish it; does nothing once it is there.

    Call it only between inserts, with everything up to ``cut`` stored and nothing after it.

    Raises:
        UnavailableError: The engine refuses; the same call may be made again.
    """
    view = view_name(meter)
    if view in filled(engine):
        return
    engine.define(
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS streamgauge.{view} "
        f"TO streamgauge.usage_minutes AS {_minutes(meter, f'log_position > {cut}')} "
        f"COMMENT 'cut={cut}'"
    )
    fixed_cut = _cut_of(engine, view)
    for month, slices in _chunks(engine, meter, fixed_cut):
        for slice_number in range(slices):
            _backfill(engine, meter, fixed_cut, month, (slice_number, slices))
    engine.define(f"INSERT INTO streamgauge.rollups_filled VALUES ('{view}', {fixed_cut})")


def _cut_of(engine: Engine, view: str) -> int:
    query = (
        "SELECT comment FROM system.tables WHERE database = 'streamgauge' AND name = {view:String}"
    )
    ((comment,),) = engine.rows(query, {"view": view})
    return int(comment.removeprefix("cut="))


def _chunks(engine: Engine, meter: Meter, cut: int) -> list[tuple[int, int]]:
    """Return (month, number of slices); the same for ever, since rows up to a cut never change."""
    query = (
        "SELECT toYYYYMM(timestamp) AS month, count() FROM streamgauge.events "
        f"WHERE {_taken(meter)} AND log_position <= {cut} GROUP BY month ORDER BY month"
    )
    return [(month, 1 + rows // BACKFILL_CHUNK_ROWS) for month, rows in engine.rows(query)]


def _backfill(engine: Engine, meter: Meter, cut: int, month: int, chunk: tuple[int, int]) -> None:
    slice_number, slices = chunk
    where = (
        f"log_position <= {cut} AND toYYYYMM(timestamp) = {month} "
        f"AND cityHash64(customer_id) % {slices} = {slice_number}"
    )
    token = f"fill:{meter.id}:{cut}:{month}:{slice_number}/{slices}"
    settings = INSERT_SETTINGS | {
        "insert_deduplication_token": token,
        "insert_select_deduplicate": 1,
    }
    clause = ", ".join(f"{name} = {compiled.literal(str(to))}" for name, to in settings.items())
    # The order makes the blocks of a repeat the same ones.
    engine.define(
        "INSERT INTO streamgauge.usage_minutes (business_id, mode, meter_id, customer_id, minute, "
        f"quantity, events, not_counted) SETTINGS {clause} {_minutes(meter, where)} "
        "ORDER BY business_id, mode, customer_id, minute"
    )


def source(asked: UsageQuery) -> Source:
    """Return the minutes of a meter as a source of its usage."""
    return Source(
        table="streamgauge.usage_minutes",
        where=(
            f"business_id = {compiled.literal(asked.business_id)}",
            f"mode = {compiled.literal(asked.mode)}",
            f"meter_id = {compiled.literal(asked.meter.id)}",
        ),
        time="minute",
        groups=(),
        aggregates=compiled.Aggregates("sum(quantity)", "sum(events)", "sum(not_counted)"),
    )


def _minutes(meter: Meter, where: str) -> str:
    amount, events, not_counted = compiled.over_events(meter)
    return (
        f"SELECT business_id, mode, {compiled.literal(meter.id)} AS meter_id, customer_id, "
        f"toDateTime(toStartOfMinute(timestamp), 'UTC') AS minute, "
        f"{amount} AS quantity, {events} AS events, {not_counted} AS not_counted "
        f"FROM streamgauge.events WHERE {_taken(meter)} AND {where} "
        "GROUP BY business_id, mode, customer_id, minute"
    )


def _taken(meter: Meter) -> str:
    return (
        f"business_id = {compiled.literal(meter.business_id)} "
        f"AND mode = {compiled.literal(meter.mode)} AND {compiled.condition(meter)}"
    )
