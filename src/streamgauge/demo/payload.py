"""Count the payload in a stream of bytes as a client receives it, without asking any meter.

In come the raw bytes of one connection, in both directions and in any pieces; out comes, for each
HTTP/1.1 response, how many body bytes arrived and whether the response is whole. After a switch
to WebSocket the payload of data frames counts. A cut connection leaves exact partial figures.
"""

from __future__ import annotations

from typing import Final

import httptools
import msgspec

_CONTROL_OPCODE: Final = 0x8
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127


class Exchange(msgspec.Struct, kw_only=True):
    """One request and what arrived of its response.

    Attributes:
        target: Path and query as requested.
        status: Status code; 0 before the status line.
        declared: The body's length as the response states it; None where it states none.
        payload: Body bytes, or WebSocket message bytes, that arrived.
        complete: Whether the response arrived whole.
        at_death: Payload that had arrived when the platform died with it on its way.
    """

    target: str
    status: int = 0
    declared: int | None = None
    payload: int = 0
    complete: bool = False
    at_death: int | None = None


class PayloadCounter:
    """Follows one client connection.

    Feed it what the client sent and what it received; ``exchanges`` is always up to date.
    Requests must not use HEAD: a counter of bytes cannot see that no body follows.
    """

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._answered = 0
        requests = httptools.HttpRequestParser(_RequestEvents(self))
        self._requests: httptools.HttpRequestParser | None = requests
        events = _ResponseEvents(self)
        self._responses = events.parser = httptools.HttpResponseParser(events)
        self._frames: FrameCounter | None = None

    @property
    def payload(self) -> int:
        """Return the payload bytes that arrived so far."""
        return sum(exchange.payload for exchange in self.exchanges)

    @property
    def in_flight(self) -> bool:
        """Return whether something was asked for and has not arrived whole."""
        return any(not exchange.complete for exchange in self.exchanges)

    def mark_death(self) -> None:
        """Note that the other side died now."""
        for exchange in self.exchanges:
            if not exchange.complete:
                exchange.at_death = exchange.payload

    def sent(self, data: bytes) -> None:
        """Take bytes that go to the server."""
        if self._requests is None:
            return
        try:
            self._requests.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._requests = None

    def received(self, data: bytes) -> None:
        """Take bytes that came from the server."""
        if self._frames is not None:
            self._count_frames(data)
            return
        try:
            self._responses.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._frames = FrameCounter()
            self._count_frames(data[upgrade.args[0] :])

    def _count_frames(self, data: bytes) -> None:
        assert self._frames is not None
        exchange = self.exchanges[self._answered]
        exchange.payload += self._frames.feed(data)
        exchange.complete = self._frames.closed

    def on_request(self, target: bytes) -> None:
        """Open an exchange."""
        self.exchanges.append(Exchange(target=target.decode("latin-1")))

    def on_head(self, status: int, declared: int | None) -> None:
        """Note the head of the response that begins."""
        exchange = self.exchanges[self._answered]
        exchange.status, exchange.declared = status, declared

    def on_body(self, size: int) -> None:
        """Count body bytes."""
        self.exchanges[self._answered].payload += size

    def on_response_end(self, status: int) -> None:
        """Close an exchange, unless it goes on as a WebSocket or the answer was interim."""
        if status >= 200:  # noqa: PLR2004 - below it a response is interim
            self.exchanges[self._answered].complete = True
            self._answered += 1


class FrameCounter:
    """Counts the payload of WebSocket data frames from a server (which are never masked).

    Attributes:
        closed: Whether a close frame arrived.
    """

    def __init__(self) -> None:
        self.closed = False
        self._head = bytearray()
        self._left = 0
        self._counts = False

    def feed(self, data: bytes) -> int:
        """Take bytes and return how many of them are payload of data frames."""
        counted = 0
        rest = memoryview(data)
        while rest:
            if self._left == 0:
                self._head.append(rest[0])
                rest = rest[1:]
                self._open_frame()
                continue
            taken = min(self._left, len(rest))
            counted += taken if self._counts else 0
            self._left -= taken
            rest = rest[taken:]
        return counted

    def _open_frame(self) -> None:
        length = _frame_length(self._head)
        if length is None:
            return
        opcode = self._head[0] & 0x0F
        self._counts = opcode < _CONTROL_OPCODE
        self.closed = self.closed or opcode == _CONTROL_OPCODE
        self._left = length
        self._head.clear()


def _frame_length(head: bytearray) -> int | None:
    if len(head) < 2:  # noqa: PLR2004 - the shortest head
        return None
    short = head[1] & 0x7F
    width = {_LENGTH_16: 2, _LENGTH_64: 8}.get(short, 0)
    if width == 0:
        return short
    return int.from_bytes(head[2:]) if len(head) == 2 + width else None


class _RequestEvents:
    """What the request parser calls."""

    def __init__(self, counter: PayloadCounter) -> None:
        self._counter = counter
        self._target = b""

    def on_message_begin(self) -> None:
        self._target = b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_message_complete(self) -> None:
        self._counter.on_request(self._target)


class _ResponseEvents:
    """What the response parser calls."""

    def __init__(self, counter: PayloadCounter) -> None:
        self._counter = counter
        self.parser: httptools.HttpResponseParser | None = None
        self._status = 0
        self._declared: int | None = None

    def on_message_begin(self) -> None:
        self._declared = None

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-length":
            self._declared = int(value)

    def on_headers_complete(self) -> None:
        assert self.parser is not None
        self._status = self.parser.get_status_code()
        self._counter.on_head(self._status, self._declared)

    def on_body(self, body: bytes) -> None:
        self._counter.on_body(len(body))

    def on_message_complete(self) -> None:
        self._counter.on_response_end(self._status)
