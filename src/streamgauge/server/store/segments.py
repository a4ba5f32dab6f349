"""Log positions, and what the store holds of segments of the log."""

from __future__ import annotations

from typing import Final

from streamgauge.server.store.engine import Engine

ROW_BITS: Final = 32


def log_position(segment: int, row: int) -> int:
    """Return segment and row as one number, in log order."""
    return segment << ROW_BITS | row


def newest_position(engine: Engine) -> int:
    """Return the newest log position in ``events``, 0 for none."""
    ((newest,),) = engine.rows("SELECT max(log_position) FROM events")
    return int(newest)


def rows_of_segments(engine: Engine, first: int, last: int | None) -> dict[int, int]:
    """Return how many rows of each segment are in ``events``, from ``first`` up to ``last``."""
    query = (
        "SELECT bitShiftRight(log_position, {bits:UInt8}) AS segment, count() "
        "FROM events WHERE log_position BETWEEN {first:UInt64} AND {last:UInt64} "
        "GROUP BY segment"
    )
    bounds = {
        "bits": ROW_BITS,
        "first": log_position(first, 0),
        "last": 2**64 - 1 if last is None else log_position(last + 1, 0) - 1,
    }
    return {int(segment): int(rows) for segment, rows in engine.rows(query, bounds)}


def deduplication_window(engine: Engine) -> int:
    """Return how many inserts the engine remembers, so that a repeat changes nothing."""
    query = (
        "SELECT toUInt64OrZero(extract(engine_full, "
        "'non_replicated_deduplication_window = ([0-9]+)')) FROM system.tables "
        "WHERE database = currentDatabase() AND name = 'events'"
    )
    ((window,),) = engine.rows(query)
    return int(window)
