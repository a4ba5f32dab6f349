"""The store of events: insert by segment, list, get, usage."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from streamgauge.core.errors import ConfigurationError
from streamgauge.core.limits import STORE_QUERIES_AT_ONCE
from streamgauge.server.metering import compile as compiled
from streamgauge.server.metering.forgetting import Forget
from streamgauge.server.metering.meter import Meter
from streamgauge.server.metering.windows import Window
from streamgauge.server.store import events, forgetting, frozen, schema, usage
from streamgauge.server.store.engine import Engine
from streamgauge.server.store.rollup_source import over_rollup, serves
from streamgauge.server.store.rollups import Rollups
from streamgauge.server.store.rows import Bucket, StoredEvent, UsageRow, WriterRun
from streamgauge.server.store.timing import QueryTimes

ROW_BITS = 32


def log_position(segment: int, row: int) -> int:
    """Return segment and row as one number, in log order."""
    return segment << ROW_BITS | row


class EventStore:
    """Events and rollups in one engine; queries from any thread, writes from one.

    Attributes:
        times: How long queries took.

    Args:
        dsn: ``chdb:///path/of/a/directory`` for the engine in this process, or
            ``clickhouse://user:password@host:port/database`` for a server.
        query_clients: How many queries may run at once.
        origin: The ingest log that fills a store which others can reach; None for one's own.
        follows: Whether another process inserts and makes rollups, and this one only reads.

    Raises:
        ConfigurationError: The address is neither, or another log fills it.
        UnavailableError: The engine does not open.
    """

    def __init__(
        self,
        dsn: str,
        *,
        query_clients: int = STORE_QUERIES_AT_ONCE,
        origin: str | None = None,
        follows: bool = False,
    ) -> None:
        self._dsn = dsn
        self.times = QueryTimes()
        self._engine = Engine(dsn, query_clients=query_clients)
        self._writing = threading.Lock()
        if origin is not None:
            # Before views are touched, which another log's server inserts through.
            self._claim(origin)
        self._rollups = Rollups(self._engine, self._writing, follows=follows)

    def _claim(self, origin: str) -> None:
        """Make the store that of one ingest log; twice is once.

        Two logs number their segments alike, so that one's would pass for repeats of the other's.

        Raises:
            ConfigurationError: It is another one's.
            UnavailableError: The engine refuses; the same call may be made again.
        """
        self._engine.define(schema.ORIGINS)
        first = "SELECT origin FROM origins ORDER BY since, origin LIMIT 1"
        if not self._engine.rows(first):
            name = compiled.literal(origin)
            self._engine.define(f"INSERT INTO origins SELECT {name}, now64(6)")
        ((owner,),) = self._engine.rows(first)
        if owner != origin:
            raise ConfigurationError(
                f"the store is filled from the ingest log {owner}, and this directory's is {origin}"
                " (log.origin); each needs a database of its own"
            )

    def insert(self, segment: int, ndjson: bytes, rows: int, *, part: str = "") -> None:
        """Insert the rows of a sealed segment; a segment inserted before changes nothing.

        Args:
            segment: Its number.
            ndjson: Its rows, or some of them.
            rows: How many they are.
            part: A name for which rows they are, where they are not all.

        Raises:
            RowsRefusedError: Some rows will never be taken.
            UnavailableError: The engine refuses; the same call may be made again.
        """
        if not rows:
            return
        with self._writing:
            self._engine.insert("events", ndjson, f"segment:{segment}{part and ':'}{part}")

    def plan_rollups(self, meters: Iterable[Meter], cut: int) -> None:
        """Roll up from now on what ``meters`` need; ``fill_rollups`` then brings what was before.

        Call it only where inserts are made, between them, with everything up to ``cut`` stored and
        nothing after it.

        Raises:
            UnavailableError: The engine refuses; the same call may be made again.
        """
        self._rollups.plan(meters, cut)

    def fill_rollups(self) -> None:
        """Finish the rollups that were planned, chunk by chunk between inserts; may take long.

        Until then, usage is read from events.

        Raises:
            UnavailableError: The engine refuses; the same call may be made again.
        """
        self._rollups.fill()

    def is_rolled_up(self, meter: Meter) -> bool:
        """Return whether the usage of ``meter`` is read from a rollup."""
        return self._rollups.find(meter) is not None

    def stop_filling(self) -> None:
        """Let a running ``fill_rollups`` end soon; after the next start it goes on."""
        self._rollups.stop()

    def events(  # noqa: PLR0913 - The contract has as many filters.
        self,
        *,
        business_id: str,
        mode: str,
        customer_id: str | None = None,
        event_name: str | None = None,
        meter: Meter | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        after: int | None = None,
        up_to: int | None = None,
        limit: int = 10,
        offset: int = 0,
    ) -> list[StoredEvent]:
        """Return events of ``[start, end)``, newest first, ties by log position.

        With ``after`` and ``up_to``, log positions, only those that came in between.

        Raises:
            UnavailableError: The engine refuses.
        """
        asked = events.EventQuery(
            business_id=business_id,
            mode=mode,
            customer_id=customer_id,
            event_name=event_name,
            meter=meter,
            start=start,
            end=end,
            after=after,
            up_to=up_to,
            limit=limit,
            offset=offset,
        )
        with self.times.timed("events"):
            return events.list_events(self._engine, asked)

    def event(self, event_id: str, *, business_id: str, mode: str) -> StoredEvent:
        """Return one event.

        Raises:
            NotFoundError: No stored event has this id.
            UnavailableError: The engine refuses.
        """
        with self.times.timed("event"):
            return events.get_event(self._engine, event_id, business_id=business_id, mode=mode)

    def writer_runs(self, *, after: int = 0) -> Iterator[WriterRun]:
        """Yield the ids minted by spools, as runs without gaps, of events after a log position."""
        return events.writer_runs(self._engine, after)

    def foreign_ids(self, *, after: int = 0) -> Iterator[dict[tuple[str, str], list[str]]]:
        """Yield the other ids of events after a log position by (business, mode), in blocks."""
        return events.foreign_ids(self._engine, after)

    def newest_segment(self) -> int:
        """Return the newest segment with a stored row, 0 in an empty store."""
        ((newest,),) = self._engine.rows("SELECT max(log_position) FROM events")
        return int(newest) >> ROW_BITS

    def rows_of_segments(self, first: int, last: int | None = None) -> dict[int, int]:
        """Return how many rows of each segment are stored, from ``first`` up to ``last``."""
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
        return {int(segment): int(rows) for segment, rows in self._engine.rows(query, bounds)}

    def deduplication_window(self) -> int:
        """Return how many inserts the engine remembers, so that a repeat changes nothing."""
        query = (
            "SELECT toUInt64OrZero(extract(engine_full, "
            "'non_replicated_deduplication_window = ([0-9]+)')) FROM system.tables "
            "WHERE database = currentDatabase() AND name = 'events'"
        )
        ((window,),) = self._engine.rows(query)
        return int(window)

    def usage(  # noqa: PLR0913 - Usage is asked for along as many lines.
        self,
        meter: Meter,
        *,
        business_id: str,
        mode: str,
        start: datetime,
        end: datetime,
        customer_id: str | None = None,
        by_customer: bool = True,
        group_by: Sequence[str] = (),
        bucket: Bucket | None = None,
        within: Sequence[Window] = (),
        up_to: int | None = None,
        top: int | None = None,
    ) -> list[UsageRow]:
        """Return what ``meter`` says for ``[start, end)``: a row per customer, group and bucket.

        Reads rollups; with ``up_to`` (a log position; later events are left out), or where
        ``group_by`` names a metadata key by which no filter decides, it reads the events
        themselves. ``start`` and ``end`` are whole UTC minutes; ``within`` leaves only parts of
        that window; without ``bucket`` time is not cut, and without ``by_customer`` all customers
        are one row. ``top`` gives so many rows at most, the largest first.

        Raises:
            InvalidInputError: A bound is off the minute, or a key is no metadata key.
            UnavailableError: The engine refuses.
        """
        window = usage.check_window(start, end)
        asked = usage.UsageQuery(
            meter=meter,
            business_id=business_id,
            mode=mode,
            windows=tuple(within) or (window,),
            customer_id=customer_id,
            by_customer=by_customer,
            group_by=usage.check_group_by(group_by),
            bucket=bucket,
            up_to=up_to,
            top=top,
        )
        rollup = self._rollups.find(meter)
        if (business_id, mode) != (meter.business_id, meter.mode):
            return []
        if rollup is not None and serves(rollup, asked):
            with self.times.timed("usage_of_rollups"):
                return usage.read(self._engine, asked, over_rollup(rollup, asked))
        with self.times.timed("usage_of_events"):
            return usage.read(self._engine, asked, usage.over_events(asked))

    def forget(self, rule: Forget, up_to: int) -> bool:
        """Return whether no event up to a log position holds more than ``rule`` keeps.

        If some do, they are being rewritten when this returns, beside inserts; ask again.

        Raises:
            UnavailableError: The engine refuses, or fails at it; it goes on trying.
        """
        return forgetting.forget(self._engine, self._writing, rule, up_to)

    def freeze(self, name: str, into: Path) -> int:
        """Put every row, as files, into an empty directory; return how many events they are.

        What is stored after this call is not in it. ``frozen.bring`` makes a store of it again.

        Raises:
            UnsupportedError: The engine's files are not on this machine.
            UnavailableError: The engine refuses.
            OSError: The disk refuses.
        """
        with self._writing:
            return frozen.freeze(self._engine, self._dsn, name, into)

    def close(self) -> None:
        """Let go of the engine's directory."""
        with self._writing:
            self._engine.close()
