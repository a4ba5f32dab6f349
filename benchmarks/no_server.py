"""The server's end of a request without a server: a real connection, and a ``send`` that drops."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self


class Cycle:
    """What uvicorn keeps of a request, as far as a middleware looks at it."""

    # Where the middleware recognises whose object this is.
    __module__ = "uvicorn.protocols.http.none"
    default_headers: tuple[tuple[bytes, bytes], ...] = ()

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.transport = self

    def get_extra_info(self, name: str) -> socket.socket | None:
        """Return the connection's socket."""
        return self._connection if name == "socket" else None

    async def receive(self) -> dict[str, Any]:
        """Return an empty request."""
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        """Drop a message."""


class NoServer:
    """A listener and a client; every request has a connection of its own."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()

    @contextmanager
    def request(self) -> Iterator[tuple[dict[str, Any], Callable[..., Any], Callable[..., Any]]]:
        """Yield what an ASGI application is called with."""
        with socket.create_connection(self._listener.getsockname()) as client:
            served, _ = self._listener.accept()
            with served:
                cycle = Cycle(served)
                scope = {
                    "type": "http",
                    "method": "GET",
                    "path": "/",
                    "query_string": b"",
                    "headers": [],
                    "http_version": "1.1",
                    "client": client.getsockname(),
                }
                yield scope, cycle.receive, cycle.send
