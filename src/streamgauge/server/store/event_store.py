"""The store of events: insert by segment, list, get, usage."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from streamgauge.core.limits import STORE_QUERIES_AT_ONCE
from streamgauge.server.archived import Archived, ArchivedFile
from streamgauge.server.metering.forgetting import Forget
from streamgauge.server.metering.meter import Meter
from streamgauge.server.metering.windows import Window
from streamgauge.server.store import events, forgetting, frozen, segments, usage
from streamgauge.server.store.archive import Archive
from streamgauge.server.store.archiving import Archiver
from streamgauge.server.store.engine import Engine
from streamgauge.server.store.origins import claim
from streamgauge.server.store.rollup_source import over_rollup, serves
from streamgauge.server.store.rollups import Rollups
from streamgauge.server.store.rows import Bucket, StoredEvent, UsageRow, WriterRun
from streamgauge.server.store.timing import QueryTimes


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
        archive: Where the files of archived events are; None where there are none.

    Raises:
        ConfigurationError: The address is neither, another log fills it, or a newer release
            archived events.
        UnavailableError: The engine does not open.
    """

    def __init__(
        self,
        dsn: str,
        *,
        query_clients: int = STORE_QUERIES_AT_ONCE,
        origin: str | None = None,
        follows: bool = False,
        archive: Path | None = None,
    ) -> None:
        self.times = QueryTimes()
        self._engine = Engine(dsn, query_clients=query_clients)
        self._writing = threading.Lock()
        if origin is not None:
            # Before views are touched, which another log's server inserts through.
            claim(self._engine, origin)
        self._archive = Archive(self._engine, self._writing, archive)
        self._archiver = Archiver(self._engine, self._writing, self._archive)
        self._rollups = Rollups(self._engine, self._writing, self._archive, follows=follows)

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

    def stop_long_work(self) -> None:
        """Let ``fill_rollups`` and ``archive`` end soon; after the next start they go on."""
        self._rollups.stop()
        self._archiver.stop()

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
            return events.list_events(self._engine, self._archive, asked)

    def event(self, event_id: str, *, business_id: str, mode: str) -> StoredEvent:
        """Return one event.

        Raises:
            NotFoundError: No stored event has this id.
            UnavailableError: The engine refuses.
        """
        with self.times.timed("event"):
            return events.get_event(
                self._engine, self._archive, event_id, business_id=business_id, mode=mode
            )

    def writer_runs(self, *, after: int = 0) -> Iterator[WriterRun]:
        """Yield the ids minted by spools, as runs without gaps, of events after a log position."""
        return events.writer_runs(self._engine, self._archive, after)

    def foreign_ids(self, *, after: int = 0) -> Iterator[dict[tuple[str, str], list[str]]]:
        """Yield the other ids of events after a log position by (business, mode), in blocks."""
        return events.foreign_ids(self._engine, self._archive, after)

    def newest_segment(self) -> int:
        """Return the newest segment with a stored row, 0 in an empty store."""
        stored = segments.newest_position(self._engine)
        return max(stored, self._archive.state.newest) >> segments.ROW_BITS

    def rows_of_segments(self, first: int, last: int | None = None) -> dict[int, int]:
        """Return how many rows of each segment are stored, from ``first`` up to ``last``.

        Archived ones do not count; see ``archived_segment``.
        """
        return segments.rows_of_segments(self._engine, first, last)

    def archived_segment(self) -> int:
        """Return the last segment that the archive's frontier is behind, -1 for none.

        All up to it had left the log, stored whole, before any of its rows was archived.
        """
        return (self._archive.state.position + 1 >> segments.ROW_BITS) - 1

    def count(self) -> int:
        """Return how many events are stored, archived ones included."""
        return frozen.count(self._engine, self._archive.state)

    def deduplication_window(self) -> int:
        """Return how many inserts the engine remembers, so that a repeat changes nothing."""
        return segments.deduplication_window(self._engine)

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
        with self.times.timed("usage_of_events"), self._archive.reading() as view:
            return usage.read(self._engine, asked, usage.over_events(asked, view))

    def forget(self, rule: Forget, up_to: int) -> bool:
        """Return whether no event up to a log position holds more than ``rule`` keeps.

        If some do, they are being rewritten when this returns, beside inserts; ask again.

        Raises:
            UnavailableError: The engine refuses, or fails at it; it goes on trying.
        """
        return self._archiver.forget(
            lambda: forgetting.forget(self._engine, self._writing, rule, up_to), rule, up_to
        )

    @property
    def archived(self) -> Archived:
        """Return what is archived."""
        return self._archive.state

    def missing_files(self) -> list[ArchivedFile]:
        """Return the files of archived events that are not there, or not whole."""
        return self._archive.missing()

    @property
    def archiver(self) -> Archiver:
        """Return what archives events; its calls may take long."""
        return self._archiver

    def freeze(self, name: str, into: Path, archive: Path) -> int:
        """Put every row, as files, into empty directories; return how many events they are.

        What is stored after this call is not in it. ``frozen.bring`` makes a store of it again.

        Args:
            name: A name that no earlier freeze had.
            into: For the engine's files; on its file system, as the other one.
            archive: For the files of archived events.

        Raises:
            UnsupportedError: The engine's files are not on this machine.
            UnavailableError: The engine refuses, or an archived file is missing.
            OSError: The disk refuses.
        """
        with self._writing, self._archive.reading() as view:
            frozen.link_archived(view, archive)
            return frozen.freeze(self._engine, view.state, name, into)

    def close(self) -> None:
        """Let go of the engine's directory."""
        with self._writing:
            self._engine.close()
