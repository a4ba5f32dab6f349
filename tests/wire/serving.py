"""A server to be measured: run in a namespace, it prints a line of JSON per measured response.

It listens on the plain port and on the TLS port, for IPv4 and IPv6, and ends when its standard
input does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final
from urllib.parse import parse_qs

import uvicorn

from streamgauge import Ingestion
from streamgauge.asgi import StreamBytesMiddleware
from streamgauge.streams.layers import LAYERS, Measured
from streamgauge.testing import MemorySink
from tests.wire.reference import Reference

PLAIN_PORT: Final = 8000
TLS_PORT: Final = 8443
_BACKLOG: Final = 64
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer ``/?size=&chunk=&framing=length|chunked&status=``, on a WebSocket with messages."""
    if scope["type"] == "lifespan":
        return
    query = {name: value[0] for name, value in parse_qs(scope["query_string"].decode()).items()}
    size, chunk = int(query.get("size", "0")), int(query.get("chunk", "65536"))
    if scope["type"] == "websocket":
        await _chat(size, chunk, receive, send)
        return
    headers = [(b"content-type", b"application/octet-stream")]
    status = int(query.get("status", "200"))
    if query.get("framing") != "chunked" and status == 200:
        headers.append((b"content-length", str(size).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for start in range(0, size, chunk):
        body = os.urandom(min(chunk, size - start))
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body"})


async def _chat(size: int, chunk: int, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    for start in range(0, size, chunk):
        await send({"type": "websocket.send", "bytes": os.urandom(min(chunk, size - start))})
        await receive()
    await receive()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http", choices=("h11", "httptools"), default="h11")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--reader", choices=("product", "reference"), default="product")
    parser.add_argument("--layer", choices=LAYERS, default="wire")
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--dual-stack", action="store_true")
    chosen = parser.parse_args()
    # asyncio warns of each write after the client has gone.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    with _measuring(chosen.reader, chosen.layer) as app:
        _run(app, chosen)


@contextlib.contextmanager
def _measuring(reader: str, layer: str) -> Iterator[Any]:
    """Give the application with what measures it; at the end, print what was billed to whom."""
    if reader == "reference":
        yield Reference(application, _print)
        return
    sink = MemorySink()
    with tempfile.TemporaryDirectory() as directory:
        ingestion = Ingestion(
            environment="test_mode", event_name="stream", spool_dir=directory, sink=sink
        )
        with ingestion:
            yield StreamBytesMiddleware(
                application,
                ingestion=ingestion,
                customer=lambda request: f"{request.headers['x-customer']}@{request.peer_port}",
                layer=layer,
                on_measured=_print_measured,
            )
    _print({"billed": sink.bytes_by_customer()})


def _print_measured(measured: Measured) -> None:
    readings = {layer: measured.of(layer) for layer in LAYERS}
    _print(
        {
            "customer_id": measured.customer_id,
            "connection": measured.connection,
            "is_complete": measured.is_complete,
            **{layer: (one.bytes, one.how, one.final) for layer, one in readings.items()},
        }
    )


def _run(app: Any, chosen: argparse.Namespace) -> None:
    common = {"http": chosen.http, "loop": chosen.loop, "log_level": "warning", "lifespan": "off"}
    plain = uvicorn.Config(app, **common)
    tls = uvicorn.Config(app, ssl_certfile=chosen.certificate, **common)
    loop_factory = plain.get_loop_factory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve({PLAIN_PORT: plain, TLS_PORT: tls}, dual_stack=chosen.dual_stack))


async def _serve(configurations: dict[int, uvicorn.Config], *, dual_stack: bool) -> None:
    servers = {uvicorn.Server(one): port for port, one in configurations.items()}
    sockets = {port: _sockets(port, dual_stack=dual_stack) for port in configurations}
    serving = [
        asyncio.create_task(server.serve(sockets=sockets[port])) for server, port in servers.items()
    ]
    # The sockets listen; what comes before a server takes over waits in their queues.
    _print({"ready": True})
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_wait_for_end, args=(loop, ended), daemon=True).start()
    await ended.wait()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*serving)


def _sockets(port: int, *, dual_stack: bool) -> list[socket.socket]:
    both = socket.create_server(
        ("::", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=dual_stack
    )
    if dual_stack:
        return [both]
    return [both, socket.create_server(("0.0.0.0", port), backlog=_BACKLOG)]


def _wait_for_end(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    sys.stdin.buffer.read()
    loop.call_soon_threadsafe(ended.set)


def _print(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
