# ruff: noqa: S608 - Values are bound or go through compile.literal; the rest is our own text.
"""Events one by one: newest first, by id, and all ids."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from streamgauge.core.clock import to_ns
from streamgauge.core.errors import NotFoundError
from streamgauge.server.metering import compile as compiled
from streamgauge.server.metering.meter import Meter
from streamgauge.server.store.engine import Engine
from streamgauge.server.store.rows import StoredEvent, WriterRun

_COLUMNS: Final = (
    "business_id, mode, event_id, customer_id, event_name, timestamp, metadata, received_at, "
    "log_position"
)
_SCOPE: Final = "business_id = {business_id:String} AND mode = {mode:String}"
# Ids minted by an SDK's spool; the same rule as core.ids.split_event_id.
_OURS: Final = "match(event_id, '^[0-9a-f]{32}-(0|[1-9][0-9]{0,17})$')"


def micros(name: str) -> str:
    """Return the SQL of a bound parameter that holds microseconds since 1970."""
    return f"fromUnixTimestamp64Micro({{{name}:Int64}}, 'UTC')"


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are asked for: those of ``[start, end)`` that fit everything given."""

    business_id: str
    mode: str
    customer_id: str | None = None
    event_name: str | None = None
    meter: Meter | None = None
    start: datetime | None = None
    end: datetime | None = None
    after: int | None = None
    up_to: int | None = None
    limit: int = 10
    offset: int = 0


def list_events(engine: Engine, asked: EventQuery) -> list[StoredEvent]:
    """Return events, newest first, ties by log position."""
    where = [_SCOPE]
    parameters: dict[str, Any] = {
        "business_id": asked.business_id,
        "mode": asked.mode,
        "limit": asked.limit,
        "offset": asked.offset,
    }
    for column, wanted in (
        ("customer_id", asked.customer_id),
        ("event_name", asked.event_name),
    ):
        if wanted is not None:
            where.append(f"{column} = {{{column}:String}}")
            parameters[column] = wanted
    for name, sign, at in (("start", ">=", asked.start), ("end", "<", asked.end)):
        if at is not None:
            where.append(f"timestamp {sign} {micros(name)}")
            parameters[name] = to_ns(at) // 1_000
    for sign, position in ((">", asked.after), ("<=", asked.up_to)):
        if position is not None:
            where.append(f"log_position {sign} {position}")
    if asked.meter is not None:
        where.append(compiled.condition(asked.meter))
    query = (
        f"SELECT {_COLUMNS} FROM events WHERE {' AND '.join(where)} "
        "ORDER BY timestamp DESC, log_position DESC "
        "LIMIT {limit:UInt64} OFFSET {offset:UInt64}"
    )
    return [_event(row) for row in engine.rows(query, parameters)]


def get_event(engine: Engine, event_id: str, *, business_id: str, mode: str) -> StoredEvent:
    """Return one event.

    Raises:
        NotFoundError: No stored event has this id.
    """
    query = (
        f"SELECT {_COLUMNS} FROM events "
        f"WHERE {_SCOPE} AND event_id = {{event_id:String}} ORDER BY log_position LIMIT 1"
    )
    parameters = {"business_id": business_id, "mode": mode, "event_id": event_id}
    for row in engine.rows(query, parameters):
        return _event(row)
    raise NotFoundError("event", event_id)


def writer_runs(engine: Engine, after: int) -> Iterator[WriterRun]:
    """Yield the ids minted by spools, as runs without gaps, of events after a log position."""
    query = f"""
        SELECT business_id, mode, writer_id, min(number), max(number) FROM (
            SELECT business_id, mode, substring(event_id, 1, 32) AS writer_id,
                toInt64(substring(event_id, 34)) AS number,
                number - row_number() OVER (
                    PARTITION BY business_id, mode, writer_id ORDER BY number) AS island
            FROM (SELECT DISTINCT business_id, mode, event_id FROM events
                WHERE {_OURS} AND log_position > {after})
        ) GROUP BY business_id, mode, writer_id, island
    """
    for block in engine.blocks(query):
        for business_id, mode, writer_id, first, last in block:
            yield WriterRun(
                business_id=business_id, mode=mode, writer_id=writer_id, first=first, last=last
            )


def foreign_ids(engine: Engine, after: int) -> Iterator[dict[tuple[str, str], list[str]]]:
    """Yield the other ids of events after a log position by (business, mode), block by block."""
    query = (
        "SELECT business_id, mode, event_id FROM events "
        f"WHERE NOT {_OURS} AND log_position > {after}"
    )
    for block in engine.blocks(query):
        by_scope: dict[tuple[str, str], list[str]] = {}
        for business_id, mode, event_id in block:
            by_scope.setdefault((business_id, mode), []).append(event_id)
        yield by_scope


def _event(row: tuple[Any, ...]) -> StoredEvent:
    business_id, mode, event_id, customer_id, event_name, timestamp, pairs, received, place = row
    return StoredEvent(
        business_id=business_id,
        mode=mode,
        event_id=event_id,
        customer_id=customer_id,
        event_name=event_name,
        timestamp=_aware(timestamp),
        metadata=dict(pairs),
        received_at=_aware(received),
        log_position=place,
    )


def _aware(at: datetime) -> datetime:
    # The client hands out UTC columns without their zone.
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
