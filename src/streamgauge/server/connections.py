"""Connections of clients, bounded in number, in the size of a head, and in time either way.

A client that sends nothing, or a byte now and then, holds a descriptor, and the log and the store
need descriptors too; one that takes no answer holds the answer in memory.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from http import HTTPStatus

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from streamgauge.core.errors import TooLargeError
from streamgauge.core.limits import (
    ANSWER_TAKEN_S,
    CONNECTIONS_MAX,
    HEAD_BYTES_MAX,
    REQUEST_ARRIVAL_S,
)

_log = logging.getLogger("streamgauge.server.connections")


def connections_max() -> int:
    """Return how many connections may be open: half of the descriptors of this process."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return min(CONNECTIONS_MAX, descriptors // 2)


class BoundedHttp(HttpToolsProtocol):
    """HTTP on a connection that is closed when it is one too many, or too slow to ask or to take.

    Attributes:
        arrival_s: How long a request may take to arrive whole, in seconds.
        taken_s: How long an answer may wait for the client to take it, in seconds.
    """

    arrival_s = REQUEST_ARRIVAL_S
    taken_s = ANSWER_TAKEN_S
    _arrival: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None
    _in_head = False
    _begins = False
    _unparsed_bytes = 0
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or close it at once."""
        super().connection_made(transport)
        bound = connections_max()
        if len(self.connections) > bound:
            _log.warning("%d connections are open; one more is closed", bound)
            transport.abort()
            return
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        self._stop_taking()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; refuse a head that goes on and on before the parser keeps all of it."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and not self._begins:
            # The parser tells of a header when it is whole; this one is not.
            self._unparsed_bytes += len(data)
            if self._unparsed_bytes > HEAD_BYTES_MAX:
                self._refuse_head()
        self._begins = False
        if self._arrival is None and self._is_idle():
            # Empty lines before a request begin none, yet end the wait for one.
            self._await_request()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or what a callback of ours refused."""
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse_head()
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, "INVALID_REQUEST", msg)

    def on_url(self, url: bytes) -> None:
        """Take a part of the request line."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._count_head(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note that what follows is a body."""
        self._in_head = False
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """Wait for the client to take what was sent, but not for ever."""
        super().pause_writing()
        if self._taking is None:
            self._taking = self.loop.call_later(self.taken_s, self._abort)

    def resume_writing(self) -> None:
        """Note that the client takes its answer."""
        self._stop_taking()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that asks nothing more, at once if it does not take its answer."""
        if self.transport.get_write_buffer_size():
            self._abort()
        else:
            super().timeout_keep_alive_handler()

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        self._in_head = self._begins = True
        self._head_bytes = self._unparsed_bytes = 0
        if self._arrival is None:
            self._await_request()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Note that the whole request is here."""
        self._stop_waiting()
        super().on_message_complete()

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES_MAX:
            # The parser turns it into its own error, and stops.
            raise TooLargeError(f"the request's head is over {HEAD_BYTES_MAX} bytes")

    def _refuse_head(self) -> None:
        rule = f"the request's line and headers are over {HEAD_BYTES_MAX} bytes"
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "HEADERS_TOO_LARGE", rule)

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        body = msgspec.json.encode({"code": code, "message": message})
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _is_idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _await_request(self) -> None:
        self._arrival = self.loop.call_later(self.arrival_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _give_up(self) -> None:
        self._arrival = None
        self._abort()

    def _stop_taking(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _abort(self) -> None:
        self.transport.abort()
