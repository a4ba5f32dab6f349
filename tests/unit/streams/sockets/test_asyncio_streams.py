"""asyncio's streams, and the guide's programs."""

from __future__ import annotations

import asyncio
import io
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamgauge import Ingestion
from streamgauge.sockets import SocketMeter
from streamgauge.streams.layers import Measured
from tests.unit.streams.sockets.peers import Meters, Pair, last, receive

PROGRAM = re.compile(r"<!-- run: (\S+) -->\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


async def _asyncio_pair(
    meter: SocketMeter,
) -> tuple[Any, Any, asyncio.StreamReader, asyncio.StreamWriter, asyncio.Server]:
    accepted: asyncio.Queue[tuple[Any, Any]] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accepted.put(meter.streams(reader, writer, customer_id="ann"))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    return *await accepted.get(), reader, writer, server


def test_asyncio_streams_are_billed_for_what_they_write(
    meters: Meters, billed: Callable[[], Any], measured: list[Measured], tmp_path: Path
) -> None:
    (tmp_path / "film").write_bytes(b"f" * 500_000)

    async def talk() -> None:
        _, ours, reader, writer, server = await _asyncio_pair(meters())
        ours.write(b"12345")
        ours.writelines([b"67", memoryview(bytearray(8)).cast("I")])
        await ours.drain()
        with (tmp_path / "film").open("rb") as film:
            sending = asyncio.create_task(ours.sendfile(film))
            assert len(await reader.readexactly(500_015)) == 500_015
            assert await sending == 500_000
        ours.close()
        ours.write(b"to nobody")
        assert await reader.read() == b""
        writer.close()
        server.close()

    asyncio.run(talk())
    assert last(measured).payload.bytes == 500_015
    assert billed() == {"ann": 500_015}


def test_asyncio_streams_are_billed_for_what_they_read(
    meters: Meters, billed: Callable[[], Any], measured: list[Measured]
) -> None:
    async def talk() -> None:
        ours, our_writer, reader, writer, server = await _asyncio_pair(meters(direction="ingress"))
        writer.write(b"one\ntwo;three\n" + b"x" * 10 + b"rest")
        writer.write_eof()
        assert await anext(ours) == b"one\n"
        assert await ours.readuntil(b";") == b"two;"
        assert await ours.readline() == b"three\n"
        assert await ours.readexactly(10) == b"x" * 10
        with pytest.raises(asyncio.IncompleteReadError):
            await ours.readexactly(100)
        assert await ours.read() == b""
        our_writer.write(b"an answer")
        our_writer.close()
        await reader.read()
        writer.close()
        server.close()

    asyncio.run(talk())
    one = last(measured)
    assert (one.payload.bytes, one.tls.bytes) == (28, 28)
    assert billed() == {"ann": 28}


def test_the_programs_of_the_guide_bill_what_they_send(
    pair: Pair, streamgauge_ingestion: Ingestion, billed: Callable[[], Any], tmp_path: Path
) -> None:
    guide = Path(__file__).parents[4] / "docs" / "guides" / "telemetry.md"
    programs = dict(PROGRAM.findall(guide.read_text("utf-8")))
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    names: dict[str, Any] = {
        "ingestion": streamgauge_ingestion,
        "listener": listener,
        "readings": [b"12345"] * 10,
        "shutil": shutil,
        "connection_file": io.BytesIO(),
    }
    exec(programs["sockets"], names)
    assert receive(client) == 50
    wire = billed()["customer_123"]
    assert 50 < wire < 2_000
    client.close()
    listener.close()

    async def talk() -> None:
        server = await asyncio.start_server(names["serve"], "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"line\n")
        writer.write_eof()
        assert await reader.read() == b"LINE\n"
        writer.close()
        server.close()

    names["meter"] = SocketMeter(streamgauge_ingestion)
    exec(programs["asyncio"], names)
    asyncio.run(talk())
    names["meter"].close()
    assert billed()["customer_123"] == wire + 5
    (tmp_path / "film.mp4").write_bytes(b"film")
    exec(programs["files"].replace("film.mp4", str(tmp_path / "film.mp4")), names)
    assert names["connection_file"].getvalue() == b"film"
    assert billed()["customer_123"] == wire + 5 + 4
