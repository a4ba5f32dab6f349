"""Entrances of a cluster follow one stream, and a writer cuts it; here all in one process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import msgspec
import pytest

from streamgauge.core.errors import ConfigurationError, TooLargeError, UnavailableError
from streamgauge.core.memory import MemoryDirectory
from streamgauge.server.ingest.decode import Batch, Scope
from streamgauge.server.ingest.entrance import Entrance
from streamgauge.server.ingest.jetstream import JetStream
from streamgauge.server.ingest.keeper import Keeper
from streamgauge.server.ingest.rows import Head
from streamgauge.server.ingest.rules import WireEvent
from streamgauge.server.ingest.stream_log import ByKnownIds, StreamLog
from streamgauge.server.ingest.streams import Streams

pytestmark = pytest.mark.cluster

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TEST = Scope("bus_1", "test_mode")
LIVE = Scope("bus_1", "live_mode")
WRITER = "0" * 31 + "1"


class EmptyStore:
    """Stands for a store that has nothing; what a test gives it are ids of stored events."""

    def __init__(self, *event_ids: str) -> None:
        self._event_ids = list(event_ids)

    def writer_runs(self, *, after: int = 0) -> list[Any]:
        return []

    def foreign_ids(self, *, after: int = 0) -> list[dict[Any, list[str]]]:
        return [{TEST: self._event_ids}]


def batch(*ids: str, scope: Scope = TEST, size: int = 1) -> Batch:
    value = msgspec.Raw(b'"%b"' % (b"1" * size))
    events = [WireEvent(id, "c", "n", NOW, {"bytes": value}) for id in ids]
    return Batch(Head(*scope, NOW), events, list(ids), [])


@asynccontextmanager
async def entrance(
    streams: Streams, directory: MemoryDirectory | None = None, store: EmptyStore | None = None
) -> AsyncIterator[Entrance]:
    keeper = Keeper(directory or MemoryDirectory())
    opened = Entrance(streams, keeper, store or EmptyStore())  # type: ignore[arg-type]
    opened.recover()
    opened.start()
    try:
        yield opened
    finally:
        assert await asyncio.to_thread(opened.stop, 30)
        keeper.close()


def stored_ids(log: StreamLog) -> list[str]:
    lines = chain.from_iterable(
        record.splitlines()[1:] for segment in log.sealed() for record in log.read(segment)
    )
    return [msgspec.json.decode(line)["event_id"] for line in lines]


def cut_all(log: StreamLog) -> None:
    log.refresh()
    while log.newest() >= log.next_segment():
        log.seal()


def writer(streams: Streams, directory: MemoryDirectory | None = None) -> StreamLog:
    return StreamLog(streams, ByKnownIds(Keeper(directory or MemoryDirectory())))


async def accepted(entered: Entrance, given: Batch, scope: Scope = TEST) -> list[bool]:
    return (await entered.acceptor.accept(scope, given)).stored


def test_a_repeat_is_known_in_every_process_and_between_them(
    streams: Streams, connect: Callable[[], JetStream]
) -> None:
    async def story() -> None:
        other = streams._replace(jetstream=connect())
        async with entrance(streams) as first, entrance(other) as second:
            assert await accepted(first, batch("a", "b")) == [True, True]
            # The second has not followed yet: what it believes is put right by the stream.
            assert await accepted(second, batch("b", "c", "a")) == [False, True, False]
            assert await accepted(first, batch("c", "d")) == [False, True]
            live = batch("a", scope=LIVE)
            assert await accepted(second, live, LIVE) == [True]
        log = writer(streams)
        cut_all(log)
        assert stored_ids(log) == ["a", "b", "c", "d", "a"]

    asyncio.run(story())


def test_ids_sent_to_two_processes_at_once_are_stored_once_and_answered_so(
    streams: Streams, connect: Callable[[], JetStream]
) -> None:
    async def story() -> None:
        other = streams._replace(jetstream=connect())
        chosen = random.Random(7)
        names = [f"{WRITER}-{n}" for n in range(300)] + [f"foreign{n}" for n in range(300)]
        batches = [batch(*chosen.sample(names, 40)) for _ in range(60)]
        async with entrance(streams) as first, entrance(other) as second:
            answers = await asyncio.gather(
                *(accepted(each, given) for given in batches for each in (first, second))
            )
        sent = [given for given in batches for _ in range(2)]
        new = [
            id
            for given, stored in zip(sent, answers, strict=True)
            for id, is_new in zip(given.event_ids, stored, strict=True)
            if is_new
        ]
        assert len(new) == len(set(new)), "an id was answered as stored twice"
        assert set(new) == {id for given in batches for id in given.event_ids}
        log = writer(streams)
        cut_all(log)
        assert sorted(stored_ids(log)) == sorted(new)

    asyncio.run(story())


def test_a_process_that_starts_anew_knows_what_others_did_meanwhile(streams: Streams) -> None:
    async def story() -> None:
        directory = MemoryDirectory()
        async with entrance(streams, directory) as opened:
            await accepted(opened, batch("a"))
        async with entrance(streams) as another:
            await accepted(another, batch("b"))
        async with entrance(streams, directory) as again:
            assert await accepted(again, batch("a", "b", "c")) == [False, False, True]

    asyncio.run(story())


def test_what_left_the_stream_before_a_process_read_it_comes_from_the_store(
    streams: Streams,
) -> None:
    async def story() -> None:
        async with entrance(streams) as opened:
            await accepted(opened, batch("old"))
            log = writer(streams)
            cut_all(log)
            await accepted(opened, batch("new"))
            cut_all(log)
            log.set_mark(2)
            log.remove(1)
        async with entrance(streams, store=EmptyStore("old")) as fresh:
            assert await accepted(fresh, batch("old", "new", "newer")) == [False, False, True]

    asyncio.run(story())


def test_a_process_that_was_cut_off_for_longer_than_the_stream_keeps_goes_on_by_itself(
    streams: Streams,
) -> None:
    async def story() -> None:
        store = EmptyStore("theirs")
        async with entrance(streams, store=store) as cut_off, entrance(streams) as other:
            await accepted(cut_off, batch("first"))
            await accepted(other, batch("theirs"))
            log = writer(streams)
            cut_all(log)
            await accepted(other, batch("newest"))
            cut_all(log)
            log.set_mark(2)
            log.remove(1)
            given = batch("theirs", "newest", "own")
            assert await accepted(cut_off, given) == [False, False, True]

    asyncio.run(story())


def test_what_somebody_else_published_is_set_aside_and_blocks_nothing(streams: Streams) -> None:
    async def story() -> None:
        async with entrance(streams) as opened:
            await accepted(opened, batch("a"))
            rubbish = [b"hello", b"", b'{"business_id":1}\n{"event_id":"x"}\n', b"\xff\n\xff"]
            streams.publish([(f"rubbish{at}", data) for at, data in enumerate(rubbish)])
            assert await accepted(opened, batch("a", "b")) == [False, True]
            log = writer(streams)
            cut_all(log)
            assert stored_ids(log) == ["a", "b"]
            assert [text.split(" is no record")[0] for text in log.damage()] == [
                f"message {sequence} of the stream" for sequence in (2, 3, 4, 5)
            ]
            kept = [message.data for message in streams.read("refused", 1, 4)]
            assert kept == rubbish
        async with entrance(streams) as again:
            assert again.keeper.known.scopes() == [TEST]

    asyncio.run(story())


def test_ids_of_another_stream_are_refused(
    streams: Streams, connect: Callable[[], JetStream]
) -> None:
    async def story() -> None:
        directory = MemoryDirectory()
        async with entrance(streams, directory) as opened:
            await accepted(opened, batch("a"))
        async with entrance(streams, directory):
            """A start saves what it has read."""
        emptied = Streams(connect(), f"{streams.name}b", streams.bytes_max)
        with pytest.raises(ConfigurationError, match="known ids reach up to record 1"):
            async with entrance(emptied, directory):
                pass

    asyncio.run(story())


def test_a_batch_that_no_message_holds_is_refused_whole(streams: Streams) -> None:
    async def story() -> None:
        async with entrance(streams) as opened:
            with pytest.raises(TooLargeError, match="send fewer events at once"):
                await accepted(opened, batch("huge", size=9 * 1024 * 1024))
            assert await accepted(opened, batch("huge")) == [True]

    asyncio.run(story())


def test_a_writer_that_died_before_and_after_a_cut_makes_the_same_segments(
    streams: Streams,
) -> None:
    async def story() -> None:
        directory = MemoryDirectory()
        async with entrance(streams) as first, entrance(streams) as second:
            await asyncio.gather(*(accepted(each, batch("a", "b")) for each in (first, second)))
            log = writer(streams, directory)
            cut_all(log)
            before = [list(log.read(segment)) for segment in log.sealed()]
            await asyncio.gather(*(accepted(each, batch("b", "c")) for each in (first, second)))
            # It knows the ids of the first segment by its snapshot, or by reading the store.
            keeper = Keeper(MemoryDirectory())
            ByKnownIds(keeper).repeats(before[0][0])
            again = StreamLog(streams, ByKnownIds(keeper))
            cut_all(again)
        assert list(again.read(1)) == before[0]
        assert stored_ids(again) == ["a", "b", "c"]

    asyncio.run(story())


def test_of_two_writers_only_one_gets_on(streams: Streams) -> None:
    async def story() -> None:
        async with entrance(streams) as opened:
            await accepted(opened, batch("a"))
            first, second = writer(streams), writer(streams)
            cut_all(first)
            # The same cut is no conflict: it may be its own, after an answer that was lost.
            cut_all(second)
            assert stored_ids(first) == stored_ids(second) == ["a"]
            await accepted(opened, batch("b"))
            cut_all(first)
            await accepted(opened, batch("c"))
            with pytest.raises(UnavailableError, match="another writer has made segment 2"):
                cut_all(second)

    asyncio.run(story())
