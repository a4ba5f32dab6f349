# ruff: noqa: S608 - Values are bound or go through compile.literal; the rest is our own text.
"""Events one by one: newest first, by id, and all ids."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from streamgauge.core.errors import NotFoundError
from streamgauge.server.metering import compile as compiled
from streamgauge.server.metering.meter import Meter
from streamgauge.server.store.archive import Archive
from streamgauge.server.store.engine import Engine
from streamgauge.server.store.rows import StoredEvent, WriterRun
from streamgauge.server.store.view import instant

_COLUMNS: Final = (
    "business_id, mode, event_id, customer_id, event_name, timestamp, metadata, received_at, "
    "log_position"
)
_SCOPE: Final = "business_id = {business_id:String} AND mode = {mode:String}"
# Ids minted by an SDK's spool; the same rule as core.ids.split_event_id.
_OURS: Final = "match(event_id, '^[0-9a-f]{32}-(0|[1-9][0-9]{0,17})$')"


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


def list_events(engine: Engine, archive: Archive, asked: EventQuery) -> list[StoredEvent]:
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
    for sign, at in ((">=", asked.start), ("<", asked.end)):
        if at is not None:
            where.append(f"timestamp {sign} {instant(at)}")
    for sign, position in ((">", asked.after), ("<=", asked.up_to)):
        if position is not None:
            where.append(f"log_position {sign} {position}")
    if asked.meter is not None:
        where.append(compiled.condition(asked.meter))
    condition = " AND ".join(where)
    with archive.reading() as view:
        frontier = view.state.before
        if frontier is not None:
            # Newest first: a page of what is newer than all archived events needs none of them.
            newer = f"events WHERE {condition} AND timestamp >= {instant(frontier)}"
            page = _page(engine, newer, parameters)
            if len(page) == asked.limit:
                return page
        rows = view.rows(
            condition,
            start=asked.start,
            end=asked.end,
            after=asked.after,
            customer_id=asked.customer_id,
        )
        return _page(engine, str(rows), parameters)


def _page(engine: Engine, rows: str, parameters: dict[str, Any]) -> list[StoredEvent]:
    query = (
        f"SELECT {_COLUMNS} FROM {rows} ORDER BY timestamp DESC, log_position DESC "
        "LIMIT {limit:UInt64} OFFSET {offset:UInt64}"
    )
    return [_event(row) for row in engine.rows(query, parameters)]


def get_event(
    engine: Engine, archive: Archive, event_id: str, *, business_id: str, mode: str
) -> StoredEvent:
    """Return one event.

    Raises:
        NotFoundError: No stored event has this id.
    """
    condition = f"{_SCOPE} AND event_id = {{event_id:String}}"
    parameters = {"business_id": business_id, "mode": mode, "event_id": event_id}
    with archive.reading() as view:
        found = _first(engine, f"events WHERE {condition}", parameters)
        if found is None and view.state.files:
            archived = f"{view.source(view.state.files)} WHERE {condition}"
            found = _first(engine, archived, parameters)
    if found is None:
        raise NotFoundError("event", event_id)
    return found


def _first(engine: Engine, rows: str, parameters: dict[str, Any]) -> StoredEvent | None:
    query = f"SELECT {_COLUMNS} FROM {rows} ORDER BY log_position LIMIT 1"
    return next((_event(row) for row in engine.rows(query, parameters)), None)


def writer_runs(engine: Engine, archive: Archive, after: int) -> Iterator[WriterRun]:
    """Yield the ids minted by spools, as runs without gaps, of events after a log position."""
    with archive.reading() as view:
        rows = view.rows(f"{_OURS} AND log_position > {after}", after=after)
        query = f"""
            SELECT business_id, mode, writer_id, min(number), max(number) FROM (
                SELECT business_id, mode, substring(event_id, 1, 32) AS writer_id,
                    toInt64(substring(event_id, 34)) AS number,
                    number - row_number() OVER (
                        PARTITION BY business_id, mode, writer_id ORDER BY number) AS island
                FROM (SELECT DISTINCT business_id, mode, event_id FROM {rows})
            ) GROUP BY business_id, mode, writer_id, island
        """
        for block in engine.blocks(query):
            for business_id, mode, writer_id, first, last in block:
                yield WriterRun(
                    business_id=business_id, mode=mode, writer_id=writer_id, first=first, last=last
                )


def foreign_ids(
    engine: Engine, archive: Archive, after: int
) -> Iterator[dict[tuple[str, str], list[str]]]:
    """Yield the other ids of events after a log position by (business, mode), block by block."""
    with archive.reading() as view:
        rows = view.rows(f"NOT {_OURS} AND log_position > {after}", after=after)
        for block in engine.blocks(f"SELECT business_id, mode, event_id FROM {rows}"):
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
