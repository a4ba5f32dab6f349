from __future__ import annotations

import asyncio
import gzip
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import fastapi
import httpx
import pytest
import urllib3
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from streamgauge import StreamSession
from streamgauge.asgi import bill_to

Serve = Callable[..., Any]
both = pytest.mark.parametrize("serve", ["h11", "httptools"], indirect=True)
MEDIA = random.Random(7).randbytes(300_007)


@pytest.fixture
def media(tmp_path: Path) -> Path:
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "film.bin").write_bytes(MEDIA)
    return tmp_path / "media"


@pytest.fixture
def platform(media: Path) -> Starlette:
    async def film(request: Request) -> Response:
        bill_to(request, customer_id=request.path_params["customer"])
        return FileResponse(media / "film.bin")

    return Starlette(routes=[Route("/{customer}/film", film, methods=["GET"])])


@both
def test_a_file_is_billed_to_the_byte(serve: Serve, platform: Starlette) -> None:
    billed = serve(platform)
    received = httpx.get(f"{billed.address}/ann/film").content
    assert received == MEDIA
    assert billed.by_customer() == {"ann": len(MEDIA)}


@both
@pytest.mark.parametrize("ranges", ["0-0", "1000-199999", "-5", "299000-", "0-99,200-299,-1"])
def test_a_range_is_billed_as_what_was_sent(serve: Serve, platform: Starlette, ranges: str) -> None:
    billed = serve(platform)
    response = httpx.get(f"{billed.address}/ann/film", headers={"range": f"bytes={ranges}"})
    assert response.status_code == 206
    assert 0 < len(response.content) < len(MEDIA)
    assert billed.by_customer() == {"ann": len(response.content)}


@both
def test_head_is_free(serve: Serve, platform: Starlette) -> None:
    billed = serve(platform)
    response = httpx.head(f"{billed.address}/ann/film")
    assert response.headers["content-length"] == str(len(MEDIA))
    assert billed.by_customer() == {}
    assert billed.meter.unattributed_bytes == 0


def test_head_is_free_even_if_the_application_sends_a_body(serve: Serve) -> None:
    async def careless(scope: Any, receive: Any, send: Any) -> None:
        bill_to(scope, customer_id="ann")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": MEDIA})

    billed = serve(careless)
    assert httpx.head(billed.address).content == b""
    assert billed.by_customer() == {}


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_is_free(serve: Serve, status: int) -> None:
    async def nothing(request: Request) -> Response:
        bill_to(request, customer_id="ann")
        return Response(status_code=status)

    billed = serve(Starlette(routes=[Route("/", nothing)]))
    assert httpx.get(billed.address).status_code == status
    assert billed.by_customer() == {}


def test_a_file_that_did_not_change_is_free_the_second_time(serve: Serve, media: Path) -> None:
    app = Starlette(routes=[Mount("/", StaticFiles(directory=media))])
    billed = serve(app, customer=lambda _scope: "ann")
    first = httpx.get(f"{billed.address}/film.bin")
    assert billed.by_customer() == {"ann": len(MEDIA)}
    again = httpx.get(
        f"{billed.address}/film.bin", headers={"if-none-match": first.headers["etag"]}
    )
    assert again.status_code == 304
    assert billed.by_customer() == {"ann": len(MEDIA)}


async def _chunks() -> AsyncIterator[bytes]:
    for start in range(0, len(MEDIA), 10_007):
        yield MEDIA[start : start + 10_007]
        await asyncio.sleep(0)


def _views() -> Iterator[memoryview]:
    for start in range(0, len(MEDIA), 20_001):
        yield memoryview(MEDIA)[start : start + 20_001]


def _words() -> Iterator[str]:
    yield from ("plain", "", "Größe", "\N{TELEVISION}")


@both
@pytest.mark.parametrize(
    ("content", "size"), [(_chunks, len(MEDIA)), (_views, len(MEDIA)), (_words, 5 + 7 + 4)]
)
def test_a_stream_is_billed_chunk_by_chunk(
    serve: Serve, content: Callable[[], Any], size: int
) -> None:
    async def stream(request: Request) -> Response:
        bill_to(request, customer_id="ann")
        return StreamingResponse(content())

    billed = serve(Starlette(routes=[Route("/", stream)]))
    received = urllib3.request("GET", billed.address).data
    assert len(received) == size
    assert billed.by_customer() == {"ann": size}


def test_compressed_bytes_are_billed_compressed(serve: Serve) -> None:
    async def text(request: Request) -> Response:
        bill_to(request, customer_id="ann")
        return PlainTextResponse("stream " * 50_000)

    billed = serve(GZipMiddleware(Starlette(routes=[Route("/", text)])))
    with httpx.stream("GET", billed.address) as response:
        raw = b"".join(response.iter_raw())
    assert len(gzip.decompress(raw)) == 350_000
    assert billed.by_customer() == {"ann": len(raw)}


@both
def test_customers_who_share_a_connection_each_pay_their_own(
    serve: Serve, platform: Starlette
) -> None:
    billed = serve(platform)
    received = {"ann": 0, "bob": 0, "eve": 0}
    with httpx.Client(limits=httpx.Limits(max_connections=1)) as client:
        ports = set()
        for number in range(12):
            customer = ("ann", "bob", "eve")[number % 3]
            headers = {"range": f"bytes=0-{number * 1000}"}
            with client.stream("GET", f"{billed.address}/{customer}/film", headers=headers) as got:
                ports.add(got.extensions["network_stream"].get_extra_info("client_addr"))
                received[customer] += len(got.read())
    assert len(ports) == 1
    assert billed.by_customer(requests=12) == received


@both
def test_a_client_that_hangs_up_pays_for_what_reached_it(
    serve: Serve, tmp_path: Path, sessions: list[StreamSession]
) -> None:
    film = tmp_path / "long.bin"
    film.touch()
    size = 256 * 1024 * 1024
    with film.open("r+b") as file:
        file.truncate(size)

    async def long(request: Request) -> Response:
        bill_to(request, customer_id="ann")
        return FileResponse(film)

    billed = serve(Starlette(routes=[Route("/", long)]))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        client.connect(("127.0.0.1", billed.served.port))
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        received = 0
        while received < 1024 * 1024:
            received += len(client.recv(65_536))
    counted = billed.by_customer()["ann"]
    # Less the head, and at most what the client's kernel had and it did not read.
    assert received - 1_000 < counted < received + 2 * 32_768
    assert [session.is_counting for session in sessions] == [False]


@both
def test_an_error_in_the_middle_bills_what_was_sent_before(
    serve: Serve, sessions: list[StreamSession]
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 1_000
        yield b"y" * 500
        raise RuntimeError("the disk is gone")

    async def stream(request: Request) -> Response:
        bill_to(request, customer_id="ann")
        return StreamingResponse(broken())

    billed = serve(Starlette(routes=[Route("/", stream)]))
    received: list[bytes] = []
    with httpx.stream("GET", billed.address) as response, pytest.raises(httpx.RemoteProtocolError):
        received.extend(response.iter_raw())
    assert sum(map(len, received)) == 1_500
    assert billed.by_customer() == {"ann": 1_500}
    assert "the disk is gone" in repr(billed.served.errors[0])
    assert [session.is_counting for session in sessions] == [False]


def _payer(request: fastapi.Request, token: str) -> str:
    bill_to(request, customer_id=token, metadata={"by": "dependency"})
    return token


def test_endpoints_and_dependencies_of_fastapi_can_name_the_customer(
    serve: Serve, media: Path
) -> None:
    app = fastapi.FastAPI()

    @app.get("/film")
    def film(token: Annotated[str, fastapi.Depends(_payer)]) -> FileResponse:
        return FileResponse(media / "film.bin")

    @app.get("/hello")
    async def hello(request: fastapi.Request) -> PlainTextResponse:
        bill_to(request, customer_id="bob")
        return PlainTextResponse("hello")

    app.add_middleware(GZipMiddleware)
    billed = serve(app)
    httpx.get(f"{billed.address}/film", params={"token": "ann"}, headers={"accept-encoding": ""})
    httpx.get(f"{billed.address}/hello")
    assert billed.by_customer(requests=2) == {"ann": len(MEDIA), "bob": 5}


def test_add_middleware_takes_the_middleware(serve: Serve) -> None:
    billed = serve(PlainTextResponse("x"))
    app = fastapi.FastAPI()
    app.add_middleware(type(billed.meter), ingestion=billed._ingestion)

    @app.get("/")
    async def hello(request: Request) -> PlainTextResponse:
        bill_to(request, customer_id="ann")
        return PlainTextResponse("hello")

    inner = serve(app)
    httpx.get(inner.address)
    # Both are around the application now, and each byte counts once.
    assert inner.by_customer() == {"ann": 5}


def test_a_background_task_may_still_name_the_customer(serve: Serve) -> None:
    async def late(request: Request) -> Response:
        task = BackgroundTask(bill_to, request, customer_id="ann")
        return PlainTextResponse("hello", background=task)

    billed = serve(Starlette(routes=[Route("/", late)]))
    httpx.get(billed.address)
    assert billed.by_customer() == {"ann": 5}
    assert billed.meter.unattributed_bytes == 0
