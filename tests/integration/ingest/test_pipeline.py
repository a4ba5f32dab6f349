from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamgauge.core.backoff import Backoff
from streamgauge.core.clock import Clock
from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.core.limits import INGEST_SEGMENT_BYTES_MAX, RETAINED_SEGMENTS_MAX
from streamgauge.core.memory import MemoryDirectory
from streamgauge.server.ingest import inserter
from streamgauge.server.ingest.decode import Scope
from streamgauge.server.ingest.keeper import Keeper
from streamgauge.server.ingest.pipeline import Pipeline
from streamgauge.server.ingest.quarantine import Quarantine
from streamgauge.server.ingest.rows import Head, encode
from streamgauge.server.ingest.rules import WireEvent
from streamgauge.server.ingest.wal import Wal
from streamgauge.server.metering.meter import Aggregation, AggregationType, Meter
from streamgauge.server.store import EventStore
from streamgauge.testing import ManualClock

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SCOPE = Scope("bus_1", "test_mode")
METER = Meter(
    id="mtr_1",
    business_id="bus_1",
    mode="test_mode",
    name="Bytes",
    event_name="stream",
    measurement_unit="byte",
    aggregation=Aggregation(type=AggregationType.SUM, key="bytes"),
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    updated_at=datetime(2026, 1, 1, tzinfo=UTC),
)


class Reluctant(EventStore):
    """A store that can be told to refuse inserts."""

    refuses = False
    takes: int | None = None
    dies_after = 0
    tries = 0
    window = None

    def insert(self, segment: int, ndjson: bytes, rows: int, *, part: str = "") -> None:
        self.tries += 1
        if self.refuses or self.takes == 0:
            raise UnavailableError("the engine refuses")
        if self.takes is not None:
            self.takes -= 1
        super().insert(segment, ndjson, rows, part=part)
        if self.dies_after == self.tries:
            raise RuntimeError("killed here")

    def deduplication_window(self) -> int:
        return self.window or super().deduplication_window()


class Plant:
    """A pipeline over a log in memory and a store on disk."""

    segment_bytes_max = INGEST_SEGMENT_BYTES_MAX
    clock: Clock | None = None

    def __init__(self, path: Path) -> None:
        self.directory = MemoryDirectory()
        self.store = Reluctant(f"chdb://{path}", query_clients=2)
        self.open()

    def open(self) -> None:
        self.log = Wal(self.directory, segment_bytes_max=self.segment_bytes_max)
        self.keeper = Keeper(self.directory.child("ids", create=True))
        quarantine = Quarantine(self.directory.child("quarantine", create=True))
        self.pipeline = Pipeline(self.log, self.store, self.keeper, quarantine, clock=self.clock)
        self.pipeline._writer._backoff = Backoff(0.001, 0.001)

    def run(self, story: Callable[[], Awaitable[None]], *meters: Meter) -> None:
        self.open()
        self.pipeline.recover(list(meters))

        async def main() -> None:
            self.pipeline.start()
            try:
                await story()
            finally:
                assert await asyncio.to_thread(self.pipeline.stop, 30)

        asyncio.run(main())
        self.log.close()

    async def send(self, *ids: str) -> list[bool]:
        events = [
            {"event_id": id, "customer_id": "c", "event_name": "stream", "metadata": {"bytes": 1}}
            for id in ids
        ]
        _, accepted = await self.pipeline.ingest(json.dumps({"events": events}).encode(), SCOPE)
        return accepted.stored

    def usage(self, **changes: Any) -> Fraction:
        rows = self.store.usage(
            METER,
            business_id="bus_1",
            mode="test_mode",
            start=datetime(2020, 1, 1, tzinfo=UTC),
            end=datetime(2100, 1, 1, tzinfo=UTC),
            **changes,
        )
        return sum((row.quantity for row in rows), Fraction(0))


@pytest.fixture
def plant(tmp_path: Path) -> Any:
    built = Plant(tmp_path / "engine")
    yield built
    built.store.close()


def test_a_store_that_refuses_shows_and_loses_nothing(plant: Any) -> None:
    async def story() -> None:
        plant.store.refuses = True
        await plant.send("a", "b")
        with pytest.raises(UnavailableError, match="are on disk but not in the store yet"):
            await plant.pipeline.caught_up(0.2)
        assert plant.pipeline.state().trouble == ["the engine refuses"]
        assert plant.pipeline.state().lag_s > 0
        assert await plant.send("a", "c") == [False, True]
        plant.store.refuses = False
        await plant.pipeline.caught_up()
        assert plant.usage() == 3
        assert (plant.pipeline.state().trouble, plant.pipeline.state().lag_s) == ([], 0.0)

    plant.run(story, METER)


def test_the_lag_is_the_age_of_the_oldest_event_that_is_not_in_the_store(plant: Any) -> None:
    plant.clock = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
    # Each batch fills a segment, as under load.
    plant.segment_bytes_max = 1

    async def story() -> None:
        plant.store.takes = 0
        for place in range(4):
            await plant.send(f"a{place}")
            plant.clock.advance(10)
        assert plant.pipeline.state().lag_s == 40
        plant.store.takes = 2
        async with asyncio.timeout(10):
            while plant.pipeline.state().lag_s != 20:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
        plant.store.takes = None
        await plant.pipeline.caught_up()
        assert plant.pipeline.state().lag_s == 0

    plant.run(story, METER)


def test_a_store_that_refuses_is_not_asked_without_a_pause_while_somebody_waits(plant: Any) -> None:
    async def story() -> None:
        plant.pipeline._writer._backoff = Backoff(60.0, 60.0)
        plant.store.refuses = True
        await plant.send("a")
        for _ in range(2):
            with pytest.raises(UnavailableError):
                await plant.pipeline.caught_up(0.3)
        assert 1 <= plant.store.tries <= 4

    plant.run(story)


def test_a_rollup_made_while_events_flow_counts_each_once(plant: Any) -> None:
    async def flow(name: str) -> None:
        for number in range(40):
            await plant.send(f"{name}{number}")

    async def story() -> None:
        await flow("before")
        flowing = [asyncio.ensure_future(flow(f"{n}-")) for n in range(3)]
        await plant.pipeline.ensure_rollup(METER)
        await asyncio.gather(*flowing)
        await plant.pipeline.caught_up()
        assert plant.usage() == plant.usage(up_to=2**63) == 160

    plant.run(story)


def test_known_ids_come_back_from_the_store_at_a_start(plant: Any) -> None:
    ours = "0123456789abcdef" * 2
    ids = [f"{ours}-0", f"{ours}-1", "foreign"]

    async def first() -> None:
        assert await plant.send(*ids) == [True] * 3

    async def second() -> None:
        assert await plant.send(f"{ours}-2", *ids) == [True, False, False, False]
        state = plant.pipeline.state()
        assert (state.known_runs, state.known_foreign) == (1, 1)

    plant.run(first)
    plant.run(second)


def test_segments_are_kept_for_a_margin_and_then_removed(
    plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inserter, "RETAINED_SEGMENTS_MAX", 3)

    async def story() -> None:
        for number in range(7):
            await plant.send(f"e{number}")
            await plant.pipeline.caught_up()

    plant.run(story, METER)
    assert len(plant.log.sealed()) == 7, "no snapshot of the known ids covers them yet"
    for _ in range(2):
        plant.run(_nothing, METER)
        assert len(plant.log.sealed()) == 3
        assert plant.usage() == 7


def test_a_store_that_lost_what_the_log_no_longer_has_is_refused(
    plant: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(inserter, "RETAINED_SEGMENTS_MAX", 1)

    async def story() -> None:
        for id in ("a", "b", "c"):
            await plant.send(id)
            await plant.pipeline.caught_up()

    plant.run(story)
    plant.run(_nothing)
    plant.store.close()
    plant.store = Reluctant(f"chdb://{tmp_path / 'empty'}", query_clients=2)
    with pytest.raises(ConfigurationError, match="the store was emptied"):
        plant.run(_nothing)


def test_a_new_segment_that_the_power_cut_off_keeps_nobody_waiting(plant: Any) -> None:
    async def first() -> None:
        await plant.send("a")
        await plant.pipeline.caught_up()

    async def second() -> None:
        await plant.pipeline.caught_up(5)
        assert plant.usage() == 1

    plant.run(first, METER)
    plant.directory.open("journal-0000000000000002.seg", create=True)
    plant.run(second, METER)


def test_a_start_is_refused_where_a_replay_could_count_twice(plant: Any) -> None:
    plant.store.window = RETAINED_SEGMENTS_MAX
    with pytest.raises(ConfigurationError, match="events would be counted twice"):
        plant.run(_nothing)


def test_a_log_of_another_store_is_refused(plant: Any) -> None:
    async def story() -> None:
        await plant.send("a")
        await plant.pipeline.caught_up()

    plant.run(story)
    plant.directory = MemoryDirectory()
    with pytest.raises(ConfigurationError, match="its directory was emptied or is another one"):
        plant.run(_nothing)


def poisoned(plant: Any, *bad: int) -> list[str]:
    """Put a segment into the log in which the engine takes every row but these."""
    ids = [f"row{number}" for number in range(20)]
    one = msgspec.Raw(b'"1"')
    events = [WireEvent(id, "c", "stream", NOW, {"bytes": one}) for id in ids]
    head, *lines = encode(Head(*SCOPE, NOW), events).splitlines()
    for number in bad:
        lines[number] = lines[number].replace(b'"2026-', b'"never ')
    log = Wal(plant.directory)
    log.append(b"\n".join([head, *lines, b""]))
    log.sync()
    log.seal()
    log.close()
    return ids


def test_rows_that_the_engine_never_takes_are_set_aside_and_block_nothing(plant: Any) -> None:
    ids = poisoned(plant, 3, 17)

    async def story() -> None:
        await plant.send("after")
        await plant.pipeline.caught_up()
        assert plant.usage() == plant.usage(up_to=2**63) == 19
        assert await plant.send(*ids) == [False] * 20, "also what is set aside is known"
        state = plant.pipeline.state()
        assert (state.set_aside, state.trouble, state.damage) == (2, [], [])

    plant.run(story, METER)
    plant.run(story, METER)
    kept = plant.directory.child("quarantine").files
    assert sorted(kept) == ["parts-1", "rows-1-17.ndjson", "rows-1-3.ndjson"]
    head, row = bytes(kept["rows-1-3.ndjson"].data).splitlines()
    assert json.loads(head)["rows"] == 1
    assert "Cannot read DateTime" in json.loads(head)["reason"]
    assert b'"event_id":"row3"' in row


@pytest.mark.parametrize("dies_after", range(1, 8))
def test_a_death_while_rows_are_sorted_out_doubles_and_loses_none(
    plant: Any, dies_after: int
) -> None:
    poisoned(plant, 5)
    plant.store.tries, plant.store.dies_after = 0, dies_after
    with contextlib.suppress(RuntimeError):
        plant.run(_nothing, METER)
    plant.store.dies_after = 0
    plant.run(_nothing, METER)
    assert plant.usage() == plant.usage(up_to=2**63) == 19


def test_a_segment_that_the_store_does_not_give_back_stays_in_the_log(
    plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inserter, "RETAINED_SEGMENTS_MAX", 1)

    async def first() -> None:
        for id in ("a", "b", "c", "d"):
            await plant.send(id)
            await plant.pipeline.caught_up()

    plant.run(first, METER)
    plant.store._engine.define("DELETE FROM streamgauge.events WHERE event_id = 'b'")
    plant.run(_nothing, METER)
    assert plant.log.sealed() == [2, 3, 4]
    (text,) = plant.pipeline.state().damage
    assert text == "segment 2 has 1 events, and the store holds 0 of it"


async def _nothing() -> None:
    pass
