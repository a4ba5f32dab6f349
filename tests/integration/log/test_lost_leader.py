"""The leader of the log is killed under load, and then a majority: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.server.ingest.entrance import Entrance
from streamgauge.server.ingest.jetstream import JetStream
from streamgauge.server.ingest.stream_log import StreamLog
from streamgauge.server.ingest.streams import Streams
from tests.integration.log.conftest import Nodes
from tests.integration.log.test_followers import (
    accepted,
    batch,
    cut_all,
    entrance,
    stored_ids,
    writer,
)

pytestmark = pytest.mark.cluster


async def send(
    entered: Entrance, name: str, acknowledged: dict[str, int], stop: asyncio.Event
) -> None:
    """Send batches until told to stop, each until it is answered; count what is said to be new."""
    number = 0
    while not stop.is_set():
        ids = [f"{name}-{number}-{place}" for place in range(20)]
        while True:
            try:
                stored = await accepted(entered, batch(*ids))
            except UnavailableError:
                await asyncio.sleep(0.05)
            else:
                break
        for id, new in zip(ids, stored, strict=True):
            acknowledged[id] = acknowledged.get(id, 0) + new
        number += 1


@pytest.mark.timeout(180)
def test_the_leader_is_killed_under_load_and_what_was_acknowledged_is_stored_once(
    nodes: Nodes, streams: Streams, connect: Callable[[], JetStream]
) -> None:
    acknowledged: dict[str, int] = {}

    async def story() -> None:
        other = streams._replace(jetstream=connect())
        stop = asyncio.Event()
        async with (
            entrance(streams) as first,
            entrance(other) as second,
            asyncio.TaskGroup() as group,
        ):
            for place, each in enumerate([first, second] * 2):
                group.create_task(send(each, f"client{place}", acknowledged, stop))
            # Both send these: the order of the stream says whose are new.
            for each in (first, second):
                group.create_task(send(each, "both", acknowledged, stop))
            await until(lambda: len(acknowledged) > 600)
            leader = nodes.leader(f"{streams.name}_events")
            nodes.kill(leader)
            count = len(acknowledged)
            await until(lambda: len(acknowledged) > count + 600)
            nodes.start(leader)
            again = len(acknowledged)
            await until(lambda: len(acknowledged) > again + 600)
            stop.set()

    asyncio.run(story())
    stored = stored_ids(cut(streams))
    assert len(stored) == len(set(stored)), "an event is stored twice"
    assert set(stored) == set(acknowledged)
    # Of an id whose first answer was lost, both processes may say that it was known already.
    assert max(acknowledged.values()) == 1


def cut(streams: Streams) -> StreamLog:
    """Return the whole log in segments, as soon as all of its streams have leaders again."""
    deadline = time.monotonic() + 60
    while True:
        try:
            log = writer(streams)
            cut_all(log)
        except (ConfigurationError, UnavailableError):
            assert time.monotonic() < deadline, "the streams get no leaders"
        else:
            return log


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


@pytest.mark.timeout(180)
def test_without_a_quorum_nothing_is_acknowledged_and_it_goes_on_by_itself(
    nodes: Nodes, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with entrance(streams) as opened:
            assert await accepted(opened, batch("before")) == [True]
            monkeypatch.setattr("streamgauge.server.ingest.jetstream.CALL_S", 0.5)
            killed = [1, 2]
            for node in killed:
                nodes.kill(node)
            with pytest.raises(UnavailableError, match="not confirmed") as refused:
                await accepted(opened, batch("during"))
            assert refused.value.retry_after_s > 0
            assert opened.acceptor.trouble is not None
            with pytest.raises(UnavailableError, match="nothing can be accepted"):
                await accepted(opened, batch("another"))
            monkeypatch.undo()
            for node in killed:
                nodes.start(node)
            await until(lambda: opened.acceptor.trouble is None)
            # What was in doubt is in the log by now, and nothing else of that time is.
            assert await accepted(opened, batch("during", "after")) == [False, True]

    asyncio.run(story())
    assert stored_ids(cut(streams)) == ["before", "during", "after"]
