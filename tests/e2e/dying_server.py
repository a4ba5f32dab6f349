"""A server that kills itself at a named step, and whose clock may be ahead.

``STREAMGAUGE_DIES_AT`` is ``step:when:count``: at the count-th time of a step of ``STEPS``, before
it, within it (some milliseconds after it began) or after it. Nothing of this is in the product:
the steps are its methods, wrapped here. Limits are small, so that a short load takes every step.
``STREAMGAUGE_CLOCK_AHEAD_S`` sets the clock ahead.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamgauge.core.clock import SystemClock
from streamgauge.core.limits import KEEP_EVENTS_DAYS_MIN
from streamgauge.server import app
from streamgauge.server.ingest import inserter, keeper, retention, writer
from streamgauge.server.ingest.accept import Acceptor
from streamgauge.server.ingest.keeper import Keeper
from streamgauge.server.ingest.pipeline import Pipeline
from streamgauge.server.ingest.snapshot import SnapshotFiles
from streamgauge.server.ingest.wal import Wal
from streamgauge.server.store import EventStore
from streamgauge.server.store.archive import Archive
from streamgauge.server.store.archiving import Archiver
from tests.nursery import serve_plainly

# In the order in which an event meets them, then what goes on beside.
STEPS: dict[str, tuple[type, str]] = {
    "accept": (Acceptor, "accept"),
    "append": (Wal, "append"),
    "sync": (Wal, "sync"),
    "settle": (Acceptor, "_settle"),
    "answer": (Pipeline, "ingest"),
    "seal": (Wal, "seal"),
    "insert": (EventStore, "insert"),
    "mark": (Wal, "set_mark"),
    "prove": (EventStore, "rows_of_segments"),
    "remove": (Wal, "remove"),
    "write_ids": (Keeper, "_write"),
    "write_runs": (SnapshotFiles, "write_runs"),
    "put_snapshot": (SnapshotFiles, "put"),
    "merge_ids": (Keeper, "_merge"),
    "plan_rollups": (EventStore, "plan_rollups"),
    "fill_rollups": (EventStore, "fill_rollups"),
    "write_archive": (Archiver, "_write"),
    "put_archive": (Archive, "put"),
    "clean_archive": (Archiver, "_clean"),
}
assert all(hasattr(owner, name) for owner, name in STEPS.values()), "a step must be a method"
WHEN = ("before", "within", "after")
WITHIN_S = 0.01


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(step: str, when: str, count: int) -> None:
    """Wrap a step, so that the process dies there."""
    owner, name = STEPS[step]
    whole: Callable[..., Any] = getattr(owner, name)
    times = 0

    def reached() -> bool:
        nonlocal times
        times += 1
        return times == count

    def begin() -> bool:
        last = reached()
        if last and when == "before":
            die()
        if last and when == "within":
            threading.Timer(random.random() * WITHIN_S, die).start()
        return last

    if step in {"accept", "answer"}:

        async def awaited(*arguments: Any, **options: Any) -> Any:
            last = begin()
            result = await whole(*arguments, **options)
            if last and when == "after":
                die()
            return result

        setattr(owner, name, awaited)
        return

    def called(*arguments: Any, **options: Any) -> Any:
        last = begin()
        result = whole(*arguments, **options)
        if last and when == "after":
            die()
        return result

    setattr(owner, name, called)


class AheadClock(SystemClock):
    """The system's clock, set ahead."""

    def time_ns(self) -> int:
        return super().time_ns() + int(os.environ["STREAMGAUGE_CLOCK_AHEAD_S"]) * 1_000_000_000


def live(data_dir: Path, ready: Callable[[str], None]) -> None:
    """Serve until a signal or a step."""
    keeper.KNOWN_IDS_RECENT_MAX = 400  # type: ignore[misc]
    keeper.UNCOVERED_SEGMENTS_MAX = 4  # type: ignore[misc]
    inserter.RETAINED_SEGMENTS_MAX = 3  # type: ignore[misc]
    writer.INTERVAL_S = 0.02
    retention.RETENTION_INTERVAL_S = 0.2  # type: ignore[misc]
    retention.ARCHIVE_LATE_ROWS_MIN = 200  # type: ignore[misc]
    os.environ["STREAMGAUGE_KEEP_EVENTS_DAYS"] = str(KEEP_EVENTS_DAYS_MIN)
    if os.environ["STREAMGAUGE_CLOCK_AHEAD_S"]:
        app.SystemClock = AheadClock  # type: ignore[misc,attr-defined]
    if wanted := os.environ["STREAMGAUGE_DIES_AT"]:
        step, when, count = wanted.split(":")
        die_at(step, when, int(count))
    serve_plainly(data_dir, ready)
