from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from streamgauge.core.errors import UnavailableError
from streamgauge.core.limits import DISK_RESERVE_BYTES
from streamgauge.core.memory import MemoryDirectory
from streamgauge.server.ingest.accept import Acceptor
from streamgauge.server.ingest.decode import Batch, Scope
from streamgauge.server.ingest.errors import BatchRefusedError, EventError
from streamgauge.server.ingest.keeper import Keeper
from streamgauge.server.ingest.rows import Head
from streamgauge.server.ingest.rules import WireEvent
from streamgauge.server.ingest.wal import Wal

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TEST = Scope("bus_1", "test_mode")
LIVE = Scope("bus_1", "live_mode")


def batch(
    *ids: str, scope: Scope = TEST, customer_id: str = "c", ahead: int | None = None
) -> Batch:
    events = [WireEvent(id, customer_id, "n", NOW, {"bytes": msgspec.Raw(b'"1"')}) for id in ids]
    faults = [
        EventError(index=index, event_id=id, field="timestamp", reason="timestamp is ahead")
        for index, id in enumerate(ids)
        if index == ahead
    ]
    return Batch(Head(*scope, NOW), events, list(ids), faults)


def ids_in(wal: Wal) -> list[str]:
    return [id for segment in wal.sealed() for id in ids_of(wal.read(segment))]


def ids_of(records: Iterator[bytes]) -> list[str]:
    lines = [line for record in records for line in record.splitlines()[1:]]
    return [msgspec.json.decode(line)["event_id"] for line in lines]


class Gate(Wal):
    """A log whose sync waits for the test."""

    def __init__(self, directory: object) -> None:
        super().__init__(directory)  # type: ignore[arg-type]
        self.opened = threading.Event()
        self.waiting = threading.Event()

    def sync(self) -> None:
        self.waiting.set()
        assert self.opened.wait(30)
        super().sync()


def run(wal: Wal, story: Callable[[Acceptor], Awaitable[None]]) -> None:
    async def main() -> None:
        acceptor = Acceptor(wal, Keeper(MemoryDirectory()), committed=lambda: None)
        acceptor.start()
        try:
            await story(acceptor)
        finally:
            if isinstance(wal, Gate):
                wal.opened.set()
            assert await asyncio.to_thread(acceptor.stop, 30)

    asyncio.run(main())
    wal.seal()


def test_each_id_is_stored_once_and_then_a_duplicate(directory: Any) -> None:
    async def story(acceptor: Acceptor) -> None:
        assert (await acceptor.accept(TEST, batch("a", "b"))).stored == [True, True]
        assert (await acceptor.accept(TEST, batch("b", "c"))).stored == [False, True]
        assert acceptor.counts == {"stored": 3, "duplicate": 1}

    wal = Wal(directory)
    run(wal, story)
    assert ids_in(wal) == ["a", "b", "c"]


def test_a_repeat_with_another_payload_is_a_duplicate_and_changes_nothing(directory: Any) -> None:
    async def story(acceptor: Acceptor) -> None:
        await acceptor.accept(TEST, batch("a", customer_id="first"))
        assert (await acceptor.accept(TEST, batch("a", customer_id="other"))).stored == [False]

    wal = Wal(directory)
    run(wal, story)
    assert b"other" not in b"".join(wal.read(1))


def test_modes_do_not_share_ids(directory: Any) -> None:
    async def story(acceptor: Acceptor) -> None:
        assert (await acceptor.accept(TEST, batch("a"))).stored == [True]
        assert (await acceptor.accept(LIVE, batch("a", scope=LIVE))).stored == [True]

    run(Wal(directory), story)


def test_a_known_id_is_a_duplicate_before_any_rule_of_time(directory: Any) -> None:
    async def story(acceptor: Acceptor) -> None:
        await acceptor.accept(TEST, batch("a"))
        assert (await acceptor.accept(TEST, batch("a", ahead=0))).stored == [False]
        with pytest.raises(BatchRefusedError, match="timestamp is ahead"):
            await acceptor.accept(TEST, batch("new", "a", ahead=0))
        assert (await acceptor.accept(TEST, batch("new"))).stored == [True]

    run(Wal(directory), story)


def test_nothing_is_answered_before_it_is_on_disk(directory: Any) -> None:
    gate = Gate(directory)

    async def story(acceptor: Acceptor) -> None:
        asking = asyncio.ensure_future(acceptor.accept(TEST, batch("a")))
        await asyncio.to_thread(gate.waiting.wait, 30)
        assert not asking.done()
        gate.opened.set()
        assert (await asking).stored == [True]

    run(gate, story)


def test_a_repeat_of_an_id_in_flight_waits_for_that_commit(directory: Any) -> None:
    gate = Gate(directory)

    async def story(acceptor: Acceptor) -> None:
        first = asyncio.ensure_future(acceptor.accept(TEST, batch("a", "b")))
        await asyncio.to_thread(gate.waiting.wait, 30)
        repeat = asyncio.ensure_future(acceptor.accept(TEST, batch("x", "b")))
        other = asyncio.ensure_future(acceptor.accept(LIVE, batch("b", scope=LIVE)))
        await asyncio.sleep(0)
        assert not first.done()
        assert not repeat.done()
        gate.opened.set()
        answers = await asyncio.gather(first, repeat, other)
        assert [answer.stored for answer in answers] == [[True, True], [True, False], [True]]

    run(gate, story)
    assert sorted(ids_in(gate)) == ["a", "b", "b", "x"]


def test_a_disk_at_its_reserve_is_told_before_anything_is_written(directory: Any) -> None:
    async def story(acceptor: Acceptor) -> None:
        assert (await acceptor.accept(TEST, batch("a"))).stored == [True]
        directory.free_bytes = lambda: DISK_RESERVE_BYTES - 1
        with pytest.raises(UnavailableError, match="the disk is full but for its reserve"):
            await acceptor.accept(TEST, batch("b"))
        assert (await acceptor.accept(TEST, batch("a"))).stored == [False], (
            "a repeat needs no space"
        )
        directory.free_bytes = lambda: DISK_RESERVE_BYTES
        assert (await acceptor.accept(TEST, batch("b"))).stored == [True]

    run(Wal(directory), story)


def test_a_client_that_leaves_changes_nothing_for_its_batch(directory: Any) -> None:
    gate = Gate(directory)

    async def story(acceptor: Acceptor) -> None:
        leaving = asyncio.ensure_future(acceptor.accept(TEST, batch("a")))
        await asyncio.to_thread(gate.waiting.wait, 30)
        leaving.cancel()
        await asyncio.wait([leaving])
        gate.opened.set()
        assert (await acceptor.accept(TEST, batch("a"))).stored == [False]

    run(gate, story)
    assert ids_in(gate) == ["a"]


def test_a_full_disk_refuses_the_batch_whole_and_releases_its_ids(directory: Any) -> None:
    async def story(acceptor: Acceptor) -> None:
        await acceptor.accept(TEST, batch("a"))
        directory.disk.writes_fail = True
        with pytest.raises(UnavailableError, match="nothing of the batch was kept"):
            await acceptor.accept(TEST, batch("b", "a"))
        directory.disk.writes_fail = False
        assert (await acceptor.accept(TEST, batch("b", "a"))).stored == [True, False]

    wal = Wal(directory)
    run(wal, story)
    assert ids_in(wal) == ["a", "b"]


def test_a_failed_sync_leaves_the_ids_in_doubt_until_it_is_settled(directory: Any) -> None:
    async def story(acceptor: Acceptor) -> None:
        directory.disk.syncs_fail = True
        with pytest.raises(UnavailableError, match="send it again"):
            await acceptor.accept(TEST, batch("a"))
        with pytest.raises(UnavailableError):
            await acceptor.accept(TEST, batch("a"))
        with pytest.raises(
            UnavailableError, match=r"the log cannot be synced: .*input/output error"
        ):
            await acceptor.accept(TEST, batch("b"))
        assert acceptor.trouble is not None
        directory.disk.syncs_fail = False
        settled = acceptor._in_flight[TEST]["a"].settled
        assert await asyncio.wait_for(settled, 30)
        assert (await acceptor.accept(TEST, batch("a", "b"))).stored == [False, True]

    wal = Wal(directory)
    run(wal, story)
    assert ids_in(wal) == ["a", "b"]
    assert ids_in(Wal(directory)) == ["a", "b"]


def test_batches_that_gather_during_a_sync_share_the_next_one(directory: Any) -> None:
    gate = Gate(directory)

    async def story(acceptor: Acceptor) -> None:
        first = asyncio.ensure_future(acceptor.accept(TEST, batch("a")))
        await asyncio.to_thread(gate.waiting.wait, 30)
        gathered = [asyncio.ensure_future(acceptor.accept(TEST, batch(f"b{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        before = directory.disk.syncs
        gate.opened.set()
        await asyncio.gather(first, *gathered)
        assert directory.disk.syncs - before == 2

    run(gate, story)
    assert len(ids_in(gate)) == 51
