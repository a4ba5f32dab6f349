"""Playback sessions: what belongs together, when it is over, and that no byte of it is lost."""

from __future__ import annotations

import asyncio
import os
import queue
import random
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from streamgauge import Ingestion, StreamBytesMiddleware, bill_to
from streamgauge.core.clock import NS_PER_S
from streamgauge.core.errors import InvalidInputError
from streamgauge.playback import (
    EndedBy,
    Manifests,
    Measured,
    PlaybackSession,
    PlaybackSessions,
    Reading,
    Segment,
)
from streamgauge.streams.layers import How
from streamgauge.testing import ManualClock, MemorySink

MEASURED = Measured(
    customer_id="ann",
    metadata={"title": "film"},
    request=None,
    status=200,
    session_id="s",
    connection=1,
    direction="egress",
    started_at_ns=0,
    done_at_ns=0,
    ended_at_ns=0,
    is_complete=True,
    payload=Reading(1_000, How.MEASURED, final=True),
    http=Reading(1_100, How.MEASURED, final=True),
    tls=Reading(1_200, How.MEASURED, final=True),
    wire=Reading(1_300, How.MEASURED, final=True),
    wire_once=Reading(1_300, How.MEASURED, final=True),
)


class Book:
    """A book of sessions on a clock that stands still, and what it has told."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.told: list[PlaybackSession] = []
        options = {"idle_timeout_s": 30, "on_ended": self.told.append} | options
        self.sessions = PlaybackSessions(title, clock=self.clock, **options)

    def fetch(self, took_s: int = 0, **changes: Any) -> None:
        """Take a response that began ``took_s`` ago."""
        now_ns = self.clock.time_ns()
        times = {"started_at_ns": now_ns - took_s * NS_PER_S, "done_at_ns": now_ns}
        self.sessions(msgspec.structs.replace(MEASURED, **(times | changes)))

    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.sessions.end_idle()


def title(measured: Measured) -> str | None:
    found = measured.metadata.get("title")
    return None if found is None else str(found)


@pytest.fixture
def book() -> Book:
    return Book()


def test_responses_of_a_key_are_one_session_until_it_is_idle(book: Book) -> None:
    began_ns = book.clock.time_ns()
    for _ in range(3):
        book.wait(10)
        book.fetch(took_s=2)
    book.wait(29)
    assert book.told == []
    book.wait(1)
    (one,) = book.told
    assert (one.customer_id, one.key, one.requests, one.part) == ("ann", "film", 3, 1)
    assert one.started_at_ns == began_ns + 8 * NS_PER_S
    assert one.ended_at_ns == began_ns + 30 * NS_PER_S
    assert one.ended_by == EndedBy.IDLE
    layers = (one.payload, one.http, one.tls, one.wire, one.wire_once)
    assert [layer.bytes for layer in layers] == [3_000, 3_300, 3_600, 3_900, 3_900]
    assert book.sessions.open_count == 0


def test_the_same_key_after_a_pause_is_another_session(book: Book) -> None:
    book.fetch()
    book.clock.advance(100)
    book.fetch()
    book.sessions.close()
    first, second = book.told
    assert first.id != second.id
    assert (second.part, second.ended_by) == (1, EndedBy.CLOSE)


def test_customers_never_mix_whatever_the_key(book: Book) -> None:
    book.fetch()
    book.fetch(customer_id="bob")
    book.fetch(customer_id=None)
    book.sessions.close()
    assert {one.customer_id for one in book.told} == {"ann", "bob", None}


def test_a_sum_is_as_certain_as_its_least_certain_part(book: Book) -> None:
    book.fetch()
    book.fetch(http=Reading(5, How.ESTIMATED, final=True))
    book.fetch(http=Reading(5, How.COMPUTED, final=True))
    book.sessions.close()
    assert book.told[0].http == Reading(1_110, How.ESTIMATED, final=True)
    assert book.told[0].tls.how == How.MEASURED


def test_figures_that_come_late_are_told_as_a_part_more_of_their_session(book: Book) -> None:
    book.fetch()
    book.wait(60)
    book.fetch(took_s=70, done_at_ns=book.clock.time_ns() - 65 * NS_PER_S)
    book.wait(30)
    first, late = book.told
    assert (late.id, late.part, late.requests) == (first.id, 2, 1)
    assert sum(one.payload.bytes for one in book.told) == 2_000


def test_an_id_for_events_is_that_of_the_session(book: Book) -> None:
    id = book.sessions.id_of("ann", "film")
    book.wait(20)
    assert book.sessions.id_of("ann", "film") == id
    assert book.sessions.id_of("bob", "film") != id
    book.wait(20)
    book.fetch(took_s=40)
    book.wait(60)
    (one,) = book.told
    assert (one.id, one.part) == (id, 1)
    assert book.sessions.id_of("ann", "film") != id
    # Nothing was measured of the others, so there is nothing to tell.
    book.sessions.close()
    assert len(book.told) == 1


def test_figures_of_a_session_that_was_only_begun_are_its_first_part(book: Book) -> None:
    id = book.sessions.id_of("ann", "film")
    book.wait(50)
    book.fetch(took_s=50)
    book.sessions.close()
    assert [(one.id, one.part) for one in book.told] == [(id, 1)]


def test_media_seconds_are_those_of_the_kind_that_has_most() -> None:
    kinds = iter(("video", "audio", "video", "audio", "video"))
    book = Book(media=lambda measured: Segment(6_006_000, "720p", next(kinds)))
    book.fetch()
    book.fetch()
    book.fetch()
    book.fetch(is_complete=False)
    book.fetch(payload=Reading(0, How.MEASURED, final=True))
    book.sessions.close()
    (one,) = book.told
    assert (one.media_us, one.media_s) == (12_012_000, Decimal("12.012"))
    assert one.incomplete_requests == 1


def test_qualities_come_from_metadata_or_the_manifest_and_are_bounded() -> None:
    book = Book(media=lambda measured: Segment(1, "360p"))
    book.fetch()
    for _ in range(2):
        book.fetch(metadata={"title": "film", "quality": "1080p"})
    for number in range(50):
        book.fetch(metadata={"title": "film", "quality": f"q{number}"})
    book.sessions.close()
    (one,) = book.told
    assert one.quality == "1080p"
    assert one.quality_bytes["360p"] == 1_000
    assert len(one.quality_bytes) == 32
    assert one.payload.bytes == 53_000


def test_too_many_sessions_end_the_one_that_is_idle_longest() -> None:
    book = Book(sessions_max=2)
    for customer_id in ("ann", "bob", "ann", "eve"):
        book.fetch(customer_id=customer_id)
    assert [(one.customer_id, one.ended_by) for one in book.told] == [("bob", EndedBy.OVERFLOW)]
    assert (book.sessions.overflowed, book.sessions.open_count) == (1, 2)
    book.sessions.close()
    assert sum(one.payload.bytes for one in book.told) == 4_000


def test_any_order_of_figures_is_told_to_the_byte() -> None:
    chance = random.Random(8)
    book = Book(sessions_max=5)
    sent = 0
    for _ in range(2_000):
        size = chance.randrange(10_000)
        sent += size
        book.fetch(
            took_s=chance.randrange(90),
            customer_id=chance.choice("abcdefgh"),
            payload=Reading(size, How.MEASURED, final=True),
        )
        if chance.random() < 0.3:
            book.wait(chance.randrange(40))
    book.sessions.close()
    book.fetch(payload=Reading(7, How.MEASURED, final=True))
    assert sum(one.payload.bytes for one in book.told) == sent + 7
    names = [(one.id, one.part) for one in book.told]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("key", [lambda _: 1 / 0, lambda _: 5, lambda _: "", lambda _: "x" * 501])
def test_a_key_that_fails_or_is_none_is_counted_and_disturbs_nothing(
    key: Callable[[Measured], Any],
) -> None:
    told: list[PlaybackSession] = []
    sessions = PlaybackSessions(key, on_ended=told.append)
    sessions(MEASURED)
    sessions.close()
    assert (told, sessions.failures) == ([], 1)


def test_a_listener_that_fails_is_counted_and_the_next_session_is_told(book: Book) -> None:
    told: list[PlaybackSession] = []

    def listen(one: PlaybackSession) -> None:
        told.append(one)
        raise RuntimeError("the caller's own")

    sessions = PlaybackSessions(title, on_ended=listen)
    sessions(MEASURED)
    sessions(msgspec.structs.replace(MEASURED, customer_id="bob"))
    sessions.close()
    assert (len(told), sessions.failures) == (2, 2)


@pytest.mark.parametrize("options", [{"idle_timeout_s": 0}, {"sessions_max": True}])
def test_a_bound_that_is_none_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        PlaybackSessions(title, on_ended=print, **options)


def test_a_forked_process_leaves_sessions_to_its_parent(book: Book) -> None:
    book.fetch()
    child = os.fork()
    if child == 0:
        book.sessions.close()
        os._exit(len(book.told))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    book.sessions.close()
    assert len(book.told) == 1


PLAYLIST = "#EXTM3U\n" + "".join(f"#EXTINF:4.5,\n{number}.ts\n" for number in range(6))
SEGMENT = b"s" * 30_000


def test_a_player_that_fetches_hls_is_one_session_at_all_layers(serve: Callable[..., Any]) -> None:
    told: list[PlaybackSession] = []
    manifests = Manifests()

    async def playlist(request: Request) -> Response:
        manifests.add_hls(request.url.path, PLAYLIST, quality="720p")
        return PlainTextResponse(PLAYLIST)

    async def segment(request: Request) -> Response:
        if request.path_params["name"] == "5.ts":
            return Response(status_code=404)
        return Response(SEGMENT)

    app = Starlette(routes=[Route("/film/i.m3u8", playlist), Route("/film/{name}", segment)])
    with PlaybackSessions(
        lambda _measured: "film",
        media=manifests,
        on_ended=told.append,
    ) as sessions:
        billed = serve(
            app, customer=lambda request: request.query.get("token"), on_measured=sessions
        )
        for token in ("ann", "bob"):
            with httpx.Client(base_url=billed.address, params={"token": token}) as player:
                player.get("/film/i.m3u8")
                for number in range(3 if token == "ann" else 6):
                    player.get(f"/film/{number}.ts")
        payload = {
            "ann": len(PLAYLIST) + 3 * len(SEGMENT),
            "bob": len(PLAYLIST) + 5 * len(SEGMENT),
        }
        assert billed.by_customer(requests=11) == payload
        # The kernel has the last figures when the connections are gone.
        billed.served.close()
    by_customer = {one.customer_id: one for one in told}
    assert {who: one.payload.bytes for who, one in by_customer.items()} == payload
    assert {who: one.requests for who, one in by_customer.items()} == {"ann": 4, "bob": 7}
    assert by_customer["ann"].media_s == Decimal("13.5")
    assert by_customer["bob"].media_s == Decimal("22.5")
    assert by_customer["ann"].quality == "720p"
    assert by_customer["ann"].wire.bytes > by_customer["ann"].http.bytes > payload["ann"]
    assert by_customer["ann"].wire.how == How.MEASURED


GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "sessions.md"
PROGRAM = re.compile(r"<!-- run: (\S+) -->\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_programs_of_the_guide_tell_and_bill_a_session(
    streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> None:
    programs = dict(PROGRAM.findall(GUIDE.read_text("utf-8")))
    finished: queue.SimpleQueue[PlaybackSession] = queue.SimpleQueue()
    inner = FastAPI()
    names: dict[str, Any] = {
        "PLAYLISTS": {"index": PLAYLIST},
        "Request": Request,
        "Response": Response,
        "StreamBytesMiddleware": StreamBytesMiddleware,
        "app": inner,
        "bill_to": bill_to,
        "customer": None,
        "finished": finished,
        "ingestion": streamgauge_ingestion,
    }
    exec(programs["sessions"], names)
    outer, names["app"] = names["app"], inner
    exec(programs["manifests"], names)

    @inner.get("/film/{number}.ts")
    async def segment(request: Request, number: int, token: str) -> Response:
        exec(programs["id"], names | {"request": request, "token": token, "customer_id": "ann"})
        return Response(SEGMENT)

    async def play() -> None:
        transport = httpx.ASGITransport(outer)
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as player:
            for name in ("index.m3u8", "0.ts", "1.ts"):
                (await player.get(f"/film/{name}?token=t")).raise_for_status()

    asyncio.run(play())
    assert streamgauge_ingestion.flush()
    names["sessions"].close()
    told = {one.customer_id: one for one in (finished.get_nowait(), finished.get_nowait())}
    assert told["ann"].media_s == Decimal(9)
    assert told["ann"].payload.bytes == 2 * len(SEGMENT)
    assert {event.metadata["session"] for event in streamgauge_sink.events} == {told["ann"].id}
