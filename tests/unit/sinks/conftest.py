from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from streamgauge.core.clock import utc
from streamgauge.core.events import UsageEvent, encode_event
from streamgauge.sinks.base import Outgoing


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes
    client: tuple[str, int]


class Reply(NamedTuple):
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    chunked: bool = False


RESET = "reset"
HANG_UP = "hang up"


class Scripted:
    """A real HTTP server that answers what it is told, then 200."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.replies: deque[Reply | str] = deque()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def then(
        self,
        status: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        chunked: bool = False,
    ) -> None:
        self.replies.append(Reply(status, body, tuple((headers or {}).items()), chunked))

    def then_breaks_off(self, how: str) -> None:
        self.replies.append(how)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def _handler(self) -> type[Handler]:
        return type("ScriptedHandler", (Handler,), {"scripted": self})


class Handler(BaseHTTPRequestHandler):
    """Takes the next reply of the server it belongs to."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    scripted: Scripted

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        scripted = self.scripted
        scripted.requests.append(Request(self.path, headers, body, self.client_address))
        reply = scripted.replies.popleft() if scripted.replies else accepted(1)
        if isinstance(reply, str):
            self._break_off(reply)
        else:
            self._answer(reply)

    def _break_off(self, how: str) -> None:
        if how == RESET:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def _answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        if reply.chunked:
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for byte in reply.body:
                self.wfile.write(b"1\r\n%c\r\n" % byte)
            self.wfile.write(b"0\r\n\r\n")
            return
        if not any(name == "content-length" for name, _ in reply.headers):
            self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: Any) -> None:
        pass


def accepted(count: int) -> Reply:
    body = b'{"ingested_count":%d}' % count
    return Reply(200, body, (("content-type", "application/json"),))


def outgoing(event_id: str, size: int = 7, customer_id: str = "customer_1") -> Outgoing:
    event = UsageEvent(
        event_id=event_id,
        customer_id=customer_id,
        event_name="stream_consumption",
        timestamp=utc(1_700_000_000_000_000_000),
        metadata={"bytes": str(size), "quality": '"hd"'},
    )
    return Outgoing(event_id=event_id, body=encode_event(event), quantity=size)


@pytest.fixture
def event() -> Callable[..., Outgoing]:
    return outgoing


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.close()
