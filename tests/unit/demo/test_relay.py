from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

from streamgauge.demo.relay import Ending, Line, Relay

REQUEST = b"GET /a HTTP/1.1\r\nHost: here\r\n\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def head(length: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()


async def ask(relay: Relay) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(REQUEST)
    answer = await reader.read(-1)
    writer.close()
    await writer.wait_closed()
    return answer


async def with_relay(serve: Serve, line: Line | None = None) -> tuple[Relay, bytes]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Relay(port, line) as relay:
        answer = await ask(relay)
        await relay.idle()
    assert relay.failures == []
    return relay, answer


def test_a_whole_response_is_forwarded_and_its_payload_counted() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head(300_000) + b"x" * 300_000)
        await writer.drain()
        writer.close()

    relay, answer = asyncio.run(with_relay(serve))
    (connection,) = relay.connections
    assert answer.endswith(b"x" * 300_000)
    assert relay.payload == 300_000
    assert connection.received_bytes == 300_000 + len(head(300_000))
    assert connection.ending is Ending.FINISHED
    assert not connection.counter.in_flight
    assert connection.receive_buffer_bytes > 0


def test_a_response_cut_by_a_close_shows_exactly_what_arrived() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head(1_000) + b"x" * 400)
        await writer.drain()
        writer.close()

    relay, answer = asyncio.run(with_relay(serve, Line(bytes_per_s=1_000_000)))
    (connection,) = relay.connections
    assert len(answer) == len(head(1_000)) + 400
    assert connection.payload == 400
    assert connection.counter.in_flight
    assert connection.ending is Ending.FINISHED


def test_a_reset_is_told_from_an_orderly_end() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    relay, answer = asyncio.run(with_relay(serve))
    assert answer == b""
    assert relay.connections[0].ending is Ending.RESET


def test_a_player_that_leaves_closes_the_line_to_the_platform() -> None:
    async def scene() -> None:
        gone = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head(10) + b"12345")
            await reader.read(1)
            writer.close()
            gone.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, Relay(server.sockets[0].getsockname()[1]) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(REQUEST)
            await reader.readuntil(b"12345")
            assert relay.in_flight
            writer.close()
            await gone.wait()
            await relay.idle()
        assert relay.connections[0].ending is Ending.LEFT
        assert relay.payload == 5

    asyncio.run(scene())


def test_only_what_was_on_its_way_when_the_platform_died_is_cut() -> None:
    async def scene() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head(4) + b"1234")
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head(9) + b"123")
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, Relay(server.sockets[0].getsockname()[1]) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(REQUEST)
            await reader.readuntil(b"1234")
            relay.mark_death()
            before = relay.connections[0].disturbed
            writer.write(REQUEST)
            await reader.readuntil(b"123")
            relay.mark_death()
            assert (before, relay.connections[0].disturbed) == (False, True)
            assert [part.at_death for part in relay.connections[0].exchanges] == [None, 3]
            writer.close()
            await writer.wait_closed()
            await relay.idle()

    asyncio.run(scene())
