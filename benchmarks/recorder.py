"""A server that takes usage events and only counts them: what is left is the client's cost.

Prints its address, serves until its standard input is closed, prints how many events came.
"""

from __future__ import annotations

import asyncio
import re
import sys

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_EVENT = b'"event_id":'


class Recorder(asyncio.Protocol):
    """One connection; requests follow each other."""

    events = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = bytearray()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._received += data
        while (head := self._received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._received, 0, head + 2)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._received) < end:
                return
            events = self._received.count(_EVENT, head, end)
            Recorder.events += events
            del self._received[:end]
            answer = b'{"ingested_count":%d}' % events
            fields = b"content-type: application/json\r\ncontent-length: %d" % len(answer)
            self._transport.write(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n%s" % (fields, answer))


async def main() -> None:
    """Serve until standard input is closed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Recorder, "127.0.0.1", 0, backlog=1_024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()
    print(Recorder.events)


if __name__ == "__main__":
    asyncio.run(main())
