"""What a measured server serves, as ASGI and as WSGI, and the lines of JSON that say what it was.

``/?size=&chunk=&framing=length|chunked&status=`` is answered with so many random bytes, a WebSocket
with messages. Beside each record of the product stands what a counter in the application would
have said: ``+= len(chunk)`` for everything that was handed over.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

from streamgauge import Ingestion
from streamgauge.customers import RequestView
from streamgauge.streams.layers import LAYERS, Measured
from streamgauge.testing import MemorySink

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[str, str]]


async def asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer a request or a WebSocket."""
    if scope["type"] == "lifespan":
        return
    naive = 0

    async def counted(message: dict[str, Any]) -> None:
        nonlocal naive
        naive += len(message.get("body") or message.get("bytes") or b"")
        await send(message)

    query = _query(scope["query_string"].decode())
    try:
        if scope["type"] == "websocket":
            await _chat(query, receive, counted)
        else:
            await _answer(query, counted)
    finally:
        headers = dict(scope["headers"])
        _tell_naive(headers[b"x-customer"].decode(), scope["client"][1], naive)


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request."""
    naive = 0
    query = _query(environ["QUERY_STRING"])
    status = {200: "200 OK", 204: "204 No Content", 304: "304 Not Modified"}
    start_response(status[int(query["status"])], _headers(query))
    try:
        for chunk in _chunks(query):
            naive += len(chunk)
            yield chunk
    finally:
        _tell_naive(environ["HTTP_X_CUSTOMER"], environ["REMOTE_PORT"], naive)


@contextlib.contextmanager
def measuring(middleware: Any, app: Any, layer: str) -> Iterator[Any]:
    """Give ``app`` with what measures it; at the end, print what was billed to whom."""
    sink = MemorySink()
    with tempfile.TemporaryDirectory() as directory:
        ingestion = Ingestion(
            environment="test_mode", event_name="stream", spool_dir=directory, sink=sink
        )
        with ingestion:
            yield middleware(
                app, ingestion=ingestion, customer=_customer, layer=layer, on_measured=_tell
            )
    write({"billed": sink.bytes_by_customer()})


def write(line: dict[str, Any]) -> None:
    """Print a line of JSON, whole, whoever else prints."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _answer(query: dict[str, str], send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in _headers(query)]
    start = {"type": "http.response.start", "status": int(query["status"])}
    await send({**start, "headers": headers})
    for body in _chunks(query):
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body"})


async def _chat(query: dict[str, str], receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    for message in _chunks(query):
        await send({"type": "websocket.send", "bytes": message})
        await receive()
    await receive()


def _query(text: str) -> dict[str, str]:
    defaults = {"size": "0", "chunk": "65536", "framing": "length", "status": "200"}
    return defaults | {name: value[0] for name, value in parse_qs(text).items()}


def _headers(query: dict[str, str]) -> Headers:
    headers = [("content-type", "application/octet-stream")]
    if query["framing"] == "length" and query["status"] == "200":
        headers.append(("content-length", query["size"]))
    return headers


def _chunks(query: dict[str, str]) -> Iterator[bytes]:
    size, chunk = int(query["size"]), int(query["chunk"])
    for start in range(0, size, chunk):
        yield os.urandom(min(chunk, size - start))


def _customer(request: RequestView) -> str:
    return f"{request.headers['x-customer']}@{request.peer_port}"


def _tell(measured: Measured) -> None:
    readings = {layer: measured.of(layer) for layer in LAYERS}
    write(
        {
            "customer_id": measured.customer_id,
            "connection": measured.connection,
            "is_complete": measured.is_complete,
            **{layer: (one.bytes, one.how, one.final) for layer, one in readings.items()},
        }
    )


def _tell_naive(customer_id: str, port: int | str, naive: int) -> None:
    write({"customer_id": f"{customer_id}@{port}", "naive": naive})
