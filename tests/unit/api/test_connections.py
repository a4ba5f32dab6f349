from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from streamgauge.server import connections
from streamgauge.server.connections import BoundedHttp, connections_max

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
Story = Callable[[Connect], Awaitable[None]]
ASK = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(body)(scope, receive, send)


class Hasty(BoundedHttp):
    arrival_s = 0.05


def run(story: Story, protocol: type[BoundedHttp] = BoundedHttp) -> None:
    async def main() -> None:
        config = uvicorn.Config(echo, http=protocol, ws="none", lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: protocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        async with server:
            await story(lambda: asyncio.open_connection("127.0.0.1", port))
            for open_one in list(state.connections):
                open_one.transport.abort()
            # What was aborted closes in the next turns of the loop.
            for _ in range(3):
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 30))


async def closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


async def closed_after(reader: asyncio.StreamReader, answer: bytes) -> bool:
    """Tell whether nothing came but this answer; who still sends may be cut before reading it."""
    try:
        said = await reader.read()
    except ConnectionError:
        return True
    return said.startswith(answer)


@pytest.mark.parametrize("sent", [b"", b"POST", ASK, ASK + b"abc"])
def test_a_request_that_does_not_arrive_in_time_is_given_up(sent: bytes) -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(sent)
        assert await closed(reader)
        writer.close()

    run(story, Hasty)


def test_whole_requests_are_answered_one_after_another() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        for _ in range(3):
            writer.write(ASK + b"abcd")
            assert (await reader.readuntil(b"abcd")).startswith(b"HTTP/1.1 200")
        writer.close()

    run(story)


def test_one_connection_too_many_is_closed_and_the_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "connections_max", lambda: 1)

    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(ASK)
        more, more_writer = await connect()
        assert await closed(more)
        writer.write(b"abcd")
        assert (await reader.readuntil(b"abcd")).startswith(b"HTTP/1.1 200")
        writer.close()
        more_writer.close()

    run(story)


def test_half_of_the_descriptors_stay_for_the_log_and_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    assert connections_max() == 512
    infinite = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: (infinite, infinite))
    assert connections_max() == 10_000


HUGE = b"x" * 70_000


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + HUGE,
        b"GET /" + HUGE,
        b"GET / HTTP/1.1\r\n" + b"".join(b"n%d: %b\r\n" % (n, b"v" * 90) for n in range(900)),
        b"GET /" + HUGE + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
@pytest.mark.parametrize("piece_bytes", [1_000, 500_000])
def test_a_head_that_goes_on_and_on_is_refused_and_cut(head: bytes, piece_bytes: int) -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        for at in range(0, len(head), piece_bytes):
            writer.write(head[at : at + piece_bytes])
            await asyncio.sleep(0.01 if piece_bytes > len(head) else 0)
        writer.write(HUGE)
        assert await closed_after(reader, b"HTTP/1.1 431 ")
        writer.transport.abort()

    run(story)


def test_a_head_that_is_too_long_is_answered() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + HUGE + b"\r\n\r\n")
        said = await reader.readuntil(b"}")
        assert said.startswith(b"HTTP/1.1 431 ")
        assert b'"code":"HEADERS_TOO_LARGE"' in said
        writer.transport.abort()

    run(story)


def test_a_long_body_is_no_long_head() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\n\r\n")
            for _ in range(30):
                writer.write(b"b" * 10_000)
                await writer.drain()
            assert (await reader.readuntil(b"b" * 300_000)).startswith(b"HTTP/1.1 200")
        writer.transport.abort()

    run(story)


def test_what_is_no_http_is_refused_in_the_shape_of_every_error() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(b"hello\r\n\r\n")
        said = await reader.read()
        assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert said.endswith(
            b'{"code":"INVALID_REQUEST","message":"Invalid HTTP request received."}'
        )
        writer.transport.abort()

    run(story)


class Impatient(BoundedHttp):
    taken_s = 0.05


def test_a_client_that_takes_no_answer_is_cut() -> None:
    async def story(connect: Connect) -> None:
        _, writer = await connect()
        transport = writer.transport
        transport.pause_reading()  # type: ignore[attr-defined]
        size = 60_000_000
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
        writer.write(bytes(size))
        await cut.wait()
        writer.transport.abort()

    cut = asyncio.Event()

    class Watched(Impatient):
        def connection_lost(self, exc: Exception | None) -> None:
            cut.set()
            super().connection_lost(exc)

    run(story, Watched)


def test_empty_lines_do_not_hold_a_connection() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(ASK + b"abcd")
        await reader.readuntil(b"abcd")
        writer.write(b"\r\n")
        assert await closed(reader)
        writer.transport.abort()

    run(story, Hasty)
