"""Every response at every layer, from real servers; what is billed and what is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from streamgauge import Ingestion
from streamgauge.asgi import StreamBytesMiddleware, bill_to
from streamgauge.streams.layers import How, Measured
from streamgauge.testing import MemorySink

both = pytest.mark.parametrize("serve", ["h11", "httptools"], indirect=True)
Serve = Callable[..., Any]
WHOLE = b"x" * 200_000
CHUNK_SIZES = (1, 15, 16, 255, 4_096, 100_000)
FRAMED = sum(size + len(f"{size:x}") + 4 for size in CHUNK_SIZES) + 5


class Records:
    """What a middleware measured."""

    def __init__(self) -> None:
        self.all: list[Measured] = []

    def __call__(self, measured: Measured) -> None:
        self.all.append(measured)

    def wait(self, count: int) -> list[Measured]:
        deadline_s = time.monotonic() + 10
        while len(self.all) < count:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        return self.all


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def app() -> Starlette:
    def chunks() -> Iterator[bytes]:
        for size in CHUNK_SIZES:
            yield b"y" * size

    async def whole(request: Request) -> Response:
        return Response(WHOLE)

    async def chunked(request: Request) -> Response:
        return StreamingResponse(chunks())

    async def upload(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    return Starlette(
        routes=[
            Route("/whole", whole),
            Route("/chunked", chunked),
            Route("/upload", upload, methods=["POST"]),
        ]
    )


def http_size(response: httpx.Response, body: int) -> int:
    """Return the bytes of a response as this client saw its head, with ``body`` bytes behind."""
    status = f"HTTP/1.1 {response.status_code} {response.reason_phrase}\r\n"
    fields = sum(len(name) + len(value) + 4 for name, value in response.headers.raw)
    return len(status) + fields + 2 + body


@both
def test_http_is_exact_for_whole_and_chunked_responses(
    serve: Serve, app: Starlette, records: Records
) -> None:
    billed = serve(app, customer=lambda request: "ann", on_measured=records)
    with httpx.Client(base_url=billed.address) as client:
        whole, chunked = client.get("/whole"), client.get("/chunked")
    first, second = records.wait(2)
    assert first.http.bytes == first.tls.bytes == http_size(whole, len(WHOLE))
    assert second.http.bytes == second.tls.bytes == http_size(chunked, FRAMED)
    assert [one.payload.bytes for one in (first, second)] == [len(WHOLE), 104_383]
    readings = [first.payload, first.http, first.tls, first.wire, first.wire_once]
    assert {reading.how for reading in readings} == {How.MEASURED}
    assert all(reading.final for reading in readings)
    assert first.is_complete
    assert first.connection == second.connection


@pytest.mark.parametrize("paths", [("/whole", "/chunked"), ("/chunked", "/whole")])
def test_what_is_not_metered_on_a_shared_connection_is_not_billed(
    serve_plainly: Callable[[Any], Any],
    app: Starlette,
    records: Records,
    streamgauge_ingestion: Ingestion,
    paths: tuple[str, str],
) -> None:
    metered = StreamBytesMiddleware(app, ingestion=streamgauge_ingestion, on_measured=records)

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await (metered if scope["path"] == "/chunked" else app)(scope, receive, send)

    with httpx.Client(base_url=serve_plainly(mounted).address) as client:
        answers = {path: client.get(path) for path in paths}
    (one,) = records.wait(1)
    assert one.http.bytes == http_size(answers["/chunked"], FRAMED)
    assert one.http.bytes < one.wire_once.bytes < 1.1 * one.http.bytes + 1_000


@pytest.mark.parametrize("layer", ["http", "tls", "wire", "wire_once"])
def test_the_layer_that_is_asked_for_is_billed(
    serve: Serve, app: Starlette, records: Records, layer: str
) -> None:
    billed = serve(app, customer=lambda request: "ann", layer=layer, on_measured=records)
    httpx.get(f"{billed.address}/whole")
    (one,) = records.wait(1)
    assert billed.by_customer() == {"ann": one.of(layer).bytes}
    assert one.of(layer).bytes > len(WHOLE)


@pytest.mark.parametrize("when", ["never", "before", "after"])
def test_what_has_a_head_alone_has_a_payer(serve: Serve, records: Records, when: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if when == "before":
            bill_to(scope, customer_id="bob")
        start = {"type": "http.response.start", "headers": []}
        await send({**start, "status": 204 if scope["method"] == "GET" else 200})
        if when == "after":
            bill_to(scope, customer_id="bob")
        await send({"type": "http.response.body"})

    billed = serve(app, customer=lambda request: "ann", layer="http", on_measured=records)
    with httpx.Client(base_url=billed.address) as client:
        for method in ("HEAD", "GET", "HEAD"):
            client.request(method, "/")
    measured = records.wait(3)
    payer = "ann" if when == "never" else "bob"
    assert {one.customer_id for one in measured} == {payer}
    assert all(one.http.bytes > 60 for one in measured)
    assert billed.by_customer(3) == {payer: sum(one.http.bytes for one in measured)}


def test_a_payer_named_midway_takes_over_what_nobody_was_billed_yet(
    serve: Serve, records: Records
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for customer_id in ("ann", "bob", "ann"):
            bill_to(scope, customer_id=customer_id)
            for _ in range(20):
                await send({"type": "http.response.body", "body": b"12345", "more_body": True})
                await asyncio.sleep(0)
            # What arrived by now goes into events, whoever pays for what follows.
            await asyncio.sleep(0.05)
            assert await asyncio.to_thread(billed.flush) is not None
        await send({"type": "http.response.body"})

    billed = serve(app, layer="http", on_measured=records)
    httpx.get(billed.address)
    (one,) = records.wait(1)
    by_customer = billed.by_customer()
    assert sum(by_customer.values()) == one.http.bytes == one.tls.bytes
    assert one.payload.bytes == 300
    assert by_customer["bob"] >= 20 * (5 + 5)


def test_other_layers_are_told_in_the_metadata(
    serve: Serve, app: Starlette, records: Records, streamgauge_sink: MemorySink
) -> None:
    told = ("payload", "http", "wire")
    billed = serve(
        app, customer=lambda request: "ann", layer="tls", layers_told=told, on_measured=records
    )
    httpx.get(f"{billed.address}/whole")
    (one,) = records.wait(1)
    billed.by_customer()
    events = streamgauge_sink.events
    sums = {key: sum(event.metadata.get(key, 0) for event in events) for key in events[0].metadata}
    expected = {f"sg_{layer}_bytes": one.of(layer).bytes for layer in told}
    assert sums == {"bytes": one.tls.bytes, **expected}


def test_what_is_received_is_billed_where_that_is_asked_for(
    serve: Serve, app: Starlette, records: Records
) -> None:
    billed = serve(app, customer=lambda request: "ann", direction="ingress", on_measured=records)
    with httpx.Client(base_url=billed.address) as client:
        for _ in range(2):
            client.post("/upload", content=b"u" * 150_000)
    measured = records.wait(2)
    assert 300_000 < sum(one.http.bytes for one in measured) < 300_000 + 800
    for one in measured:
        assert one.payload.bytes == 150_000
        assert one.wire.bytes > one.http.bytes
        assert (one.http.how, one.wire.how) == (How.MEASURED, How.MEASURED)
    assert billed.by_customer(2) == {"ann": 300_000}


def test_without_the_kernel_the_model_says_how_it_knows(
    serve: Serve, app: Starlette, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.streams.kernel.connections.read", lambda socket: None)
    billed = serve(app, customer=lambda request: "ann", on_measured=records)
    response = httpx.get(f"{billed.address}/whole")
    (one,) = records.wait(1)
    assert billed.by_customer() == {"ann": len(WHOLE)}
    assert one.http.bytes == http_size(response, len(WHOLE))
    hows = [reading.how for reading in (one.payload, one.http, one.wire)]
    assert hows == [How.MEASURED, How.COMPUTED, How.ESTIMATED]
    assert one.connection is None


def test_a_response_that_nobody_pays_for_is_measured_and_visible(
    serve: Serve, app: Starlette, records: Records
) -> None:
    billed = serve(app, on_measured=records)
    httpx.get(f"{billed.address}/whole")
    (one,) = records.wait(1)
    assert (one.customer_id, one.payload.bytes) == (None, len(WHOLE))
    assert billed.meter.unattributed_bytes == len(WHOLE)


def test_a_recorder_that_fails_disturbs_nothing(serve: Serve, app: Starlette) -> None:
    def failing(_measured: Measured) -> None:
        raise RuntimeError("the caller's own")

    billed = serve(app, customer=lambda request: "ann", on_measured=failing)
    httpx.get(f"{billed.address}/whole")
    assert billed.by_customer() == {"ann": len(WHOLE)}
    deadline_s = time.monotonic() + 10
    while not billed.meter.failures:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("option", "value"), [("layer", "ethernet"), ("direction", "up"), ("layers_told", "wire")]
)
def test_a_choice_that_does_not_exist_is_refused(
    streamgauge_ingestion: Ingestion, option: str, value: str
) -> None:
    async def nothing(*_: Any) -> None:
        await asyncio.sleep(0)

    choice: dict[str, Any] = {option: value}
    with pytest.raises(ValueError, match=option):
        StreamBytesMiddleware(nothing, ingestion=streamgauge_ingestion, **choice)
