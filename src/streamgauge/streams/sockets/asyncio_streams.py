"""Writers, transports and readers of asyncio whose bytes are counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import IO, Any

from streamgauge.streams.sockets.plain import Data, promised
from streamgauge.streams.sockets.stream import SocketStream


class MeasuredWriter:
    """A ``StreamWriter`` or a transport whose payload is counted; the rest is its own."""

    def __init__(
        self,
        writer: asyncio.StreamWriter | asyncio.WriteTransport,
        stream: SocketStream,
        *,
        sends: bool,
    ) -> None:
        self._writer: Any = writer
        self._stream = stream
        self._sends = sends

    def write(self, data: Data) -> None:
        """Count and write; to a closed connection nothing is written, nor counted."""
        size = memoryview(data).nbytes
        if self._sends and not self._writer.is_closing():
            self._stream.count(size)
        self._writer.write(data)

    def writelines(self, lines: Iterable[Data]) -> None:
        """Write each, and count."""
        for line in lines:
            self.write(line)

    async def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        """Send a file as ``loop.sendfile`` does; it is billed as it arrives."""
        transport = getattr(self._writer, "transport", self._writer)
        send = asyncio.get_running_loop().sendfile
        with promised(self._stream, file, offset, count, sends=self._sends) as done:
            return done(await send(transport, file, offset, count))

    def close(self) -> None:
        """Close it; the stream ends when the kernel is done with the connection."""
        self._writer.close()
        self._stream.end()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the writer has
        return getattr(self._writer, name)


class MeasuredReader:
    """A ``StreamReader`` whose payload is counted; the rest is its own."""

    def __init__(self, reader: asyncio.StreamReader, stream: SocketStream, *, counts: bool) -> None:
        self._reader = reader
        self._stream = stream
        self._counts = counts

    async def read(self, n: int = -1) -> bytes:
        """Read up to ``n`` bytes, and count."""
        return self._received(await self._reader.read(n))

    async def readline(self) -> bytes:
        """Read a line, and count."""
        return self._received(await self._reader.readline())

    async def readexactly(self, n: int) -> bytes:
        """Read ``n`` bytes, and count."""
        try:
            return self._received(await self._reader.readexactly(n))
        except asyncio.IncompleteReadError as error:
            self._received(error.partial)
            raise

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        """Read until a separator, and count."""
        try:
            return self._received(await self._reader.readuntil(separator))
        except asyncio.IncompleteReadError as error:
            self._received(error.partial)
            raise

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    def _received(self, data: bytes) -> bytes:
        if self._counts:
            self._stream.count(len(data))
        if self._reader.at_eof():
            self._stream.peer_is_done = True
        return data

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the reader has
        return getattr(self._reader, name)
