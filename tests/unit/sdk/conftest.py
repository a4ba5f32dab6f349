from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamgauge import Ingestion
from streamgauge.core.disk import OsDirectory
from streamgauge.core.memory import MemoryDirectory
from streamgauge.sdk.engine import Engine
from streamgauge.sdk.ground import Ground
from streamgauge.sdk.groups import Group, checked_group
from streamgauge.sdk.notices import Notices
from streamgauge.sdk.options import Options
from streamgauge.sdk.records import Draft
from streamgauge.sdk.session import StreamSession
from streamgauge.sdk.stats import Durability, Stats
from streamgauge.testing import ManualClock, MemorySink


class Stepped:
    """An engine without threads, on a directory without a disk; its sessions' home."""

    def __init__(
        self, sink: Any, root: Any = None, clock: ManualClock | None = None, **options: Any
    ) -> None:
        self.sink = sink
        self.root = root or MemoryDirectory()
        self.clock = clock or ManualClock()
        self.notices = Notices(self.clock)
        defaults: dict[str, Any] = {
            "environment": "test_mode",
            "event_name": "stream",
            "spool_dir": Path(),
            "coalesce": False,
            "window_s": 60,
            "flush_interval_s": None,
            "delivery_interval_s": 1.0,
            "sync_interval_s": 1.0,
            "batch_events_max": 1_000,
        }
        ground = Ground(root=self.root, durability=Durability.DISK, clock=self.clock)
        self.engine = Engine(Options(**defaults | options), sink, ground, self.notices)
        self.attach = self.engine.coalescer.attach
        self.give_back = self.engine.coalescer.give_back
        self.locked = self.engine.coalescer.locked

    def group(self, customer: str = "ada", **metadata: object) -> Group:
        return checked_group("stream", customer, metadata, measured=True)

    def session(
        self, customer: str = "ada", kind: type[StreamSession] = StreamSession, **metadata: object
    ) -> StreamSession:
        return kind(self, self.group(customer, **metadata).descriptor())

    def track(self, n: int | None, customer: str = "ada", event_id: str | None = None) -> None:
        group = checked_group("stream", customer, None, measured=n is not None)
        now_ns = self.clock.time_ns()
        self.engine.accept(Draft(group=group, timestamp_ns=now_ns, quantity=n, event_id=event_id))

    def deliver(self) -> float | None:
        self.engine.tick()
        while (wait_s := self.engine.deliver()) == 0.0:
            pass
        return wait_s

    def stats(self) -> Stats:
        return self.engine.stats()


@pytest.fixture(autouse=True)
def files_of_the_dead(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the files of processes that only died in a test; a real one's are closed with it."""
    let_go: list[Callable[[], None]] = []

    def kept(method: str, end: str) -> None:
        real = getattr(OsDirectory, method)

        def opened(*args: Any, **options: Any) -> Any:
            if (made := real(*args, **options)) is not None:
                let_go.append(getattr(made, end))
            return made

        monkeypatch.setattr(OsDirectory, method, opened)

    for method, end in (("open", "close"), ("map", "close"), ("lock", "release")):
        kept(method, end)
    yield
    for end in let_go:
        end()


@pytest.fixture
def stepped() -> Callable[..., Stepped]:
    return Stepped


@pytest.fixture
def spool_dir(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def ingest(spool_dir: Path, sink: MemorySink) -> Iterator[Callable[..., Ingestion]]:
    made: list[Ingestion] = []

    def make(**options: Any) -> Ingestion:
        defaults: dict[str, Any] = {
            "environment": "test_mode",
            "event_name": "stream",
            "spool_dir": spool_dir,
            "sink": sink,
        }
        made.append(Ingestion(**defaults | options))
        return made[-1]

    yield make
    for ingestion in made:
        ingestion.close(1.0)
