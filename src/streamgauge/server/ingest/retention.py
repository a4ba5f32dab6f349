"""Raw events by policy: out of the engine and into Parquet files, month by month, beside ingest.

Nothing is ever lost to it. Invoices, explanations and lists read archived events as before, only
slower; usage is read from rollups, and known ids are kept apart, so neither looks at them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from streamgauge.core.clock import Clock, utc
from streamgauge.core.limits import ARCHIVE_LATE_ROWS_MIN, RETENTION_INTERVAL_S
from streamgauge.server.archived import month_start
from streamgauge.server.ingest.event_path import EventPath
from streamgauge.server.store import EventStore

_LOGGER: Final = "streamgauge.server.retention"
_RUNS: Final = structlog.stdlib.get_logger(_LOGGER)

Run = Callable[..., Awaitable[Any]]


class ArchivedMonth(msgspec.Struct, frozen=True, kw_only=True):
    """What is archived of a month.

    Attributes:
        month: Such as ``2026-03``, in UTC.
        events: How many events.
        bytes: The size of their files.
        files: How many files.
    """

    month: str
    events: int
    bytes: int
    files: int


class RetentionState(msgspec.Struct, frozen=True, kw_only=True):
    """What retention says about itself.

    Attributes:
        keep_events_days: How long raw events stay in the engine; None for ever.
        before: Everything with an earlier timestamp is archived, unless it came late; None if
            nothing is.
        position: What came behind this log position came late: it is archived with a later month.
        events: How many events are archived.
        bytes: The size of all files.
        files: How many files.
        missing: Names of files that are not there, or not whole.
        months: All months that have something archived, in order.
        run_at: When it was last looked whether there is something to archive, since the start.
        trouble: Why that failed, None if it did not.
    """

    keep_events_days: int | None = None
    before: datetime | None = None
    position: str = "0"
    events: int = 0
    bytes: int = 0
    files: int = 0
    missing: list[str] = []
    months: list[ArchivedMonth] = []
    run_at: datetime | None = None
    trouble: str | None = None


class Retention:
    """Archives events of the running server.

    Args:
        store: Holds events.
        pipeline: Knows which of them may be inserted again.
        clock: Where time comes from.
        run: Calls what blocks, in threads that are waited for before the store is closed.
        keep_events_days: How long raw events stay in the engine; None for ever.
    """

    def __init__(
        self,
        store: EventStore,
        pipeline: EventPath,
        clock: Clock,
        run: Run,
        keep_events_days: int | None = None,
    ) -> None:
        self._store = store
        self._pipeline = pipeline
        self._clock = clock
        self._run = run
        self._keep_events_days = keep_events_days
        self._run_at: datetime | None = None
        self._trouble: str | None = None

    async def keep(self) -> None:
        """Look every hour, until cancelled; what cannot be done now is tried again then."""
        while True:
            await self.check()
            await asyncio.sleep(RETENTION_INTERVAL_S)

    async def check(self) -> int:
        """Archive what the policy says, and return how many events that were."""
        began, archived = time.perf_counter(), 0
        try:
            await self._run(self._store.archiver.clean)
            async for rows in self._steps():
                archived += rows
        except Exception as error:  # noqa: BLE001 - it would end in silence, for good
            self._trouble = f"events cannot be archived: {error}"
            self._say(logging.WARNING, "retention failed", began, archived, error=str(error))
        else:
            self._trouble = None
            level = logging.INFO if archived else logging.DEBUG
            self._say(level, "retention", began, archived)
        self._run_at = utc(self._clock.time_ns())
        return archived

    def state(self) -> RetentionState:
        """Return what it says about itself."""
        archived = self._store.archived
        months = dict[str, ArchivedMonth]()
        for file in archived.files:
            one = months.get(file.month)
            months[file.month] = ArchivedMonth(
                month=file.month,
                events=file.rows + (one.events if one else 0),
                bytes=file.size + (one.bytes if one else 0),
                files=1 + (one.files if one else 0),
            )
        return RetentionState(
            keep_events_days=self._keep_events_days,
            before=archived.before,
            position=str(archived.position),
            events=archived.rows,
            bytes=archived.size_bytes,
            files=len(archived.files),
            missing=[file.name for file in self._store.missing_files()],
            months=[months[month] for month in sorted(months)],
            run_at=self._run_at,
            trouble=self._trouble,
        )

    async def _steps(self) -> AsyncIterator[int]:
        """Yield how many events each step archived, of those that are due."""
        if self._keep_events_days is None:
            return
        last = utc(self._clock.time_ns()) - timedelta(days=self._keep_events_days)
        before = month_start(last.year, last.month)
        up_to = await self._pipeline.settled()
        reached = self._store.archived.before
        if reached is not None and before <= reached:
            late = await self._run(self._store.archiver.waiting, up_to)
            if late < ARCHIVE_LATE_ROWS_MIN:
                return
        while rows := await self._run(self._store.archiver.step, before, up_to):
            yield rows

    def _say(self, level: int, event: str, began: float, archived: int, **more: str) -> None:
        # Asked of the standard library: in a host that has not set up structlog, that would print.
        if not logging.getLogger(_LOGGER).isEnabledFor(level):
            return
        state = self._store.archived
        _RUNS.log(
            level,
            event,
            archived_events=archived,
            before=state.before and state.before.isoformat(),
            position=state.position,
            all_events=state.rows,
            all_bytes=state.size_bytes,
            files=len(state.files),
            seconds=round(time.perf_counter() - began, 3),
            **more,
        )
