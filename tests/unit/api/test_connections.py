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
                open_one.shutdown()

    asyncio.run(asyncio.wait_for(main(), 30))


async def closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


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
