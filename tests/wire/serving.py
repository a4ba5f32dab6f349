"""A server to be measured: run in a namespace, it prints a line of JSON per measured response.

It listens on the plain port and on the TLS port, for IPv4 and IPv6, and ends when its standard
input does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from gunicorn.app.base import BaseApplication
from hypercorn.asyncio import serve as serve_hypercorn
from hypercorn.config import Config as HypercornConfig

from streamgauge.asgi import StreamBytesMiddleware
from streamgauge.streams.layers import LAYERS
from streamgauge.wsgi import StreamBytesMiddleware as WsgiMiddleware
from tests.wire.application import asgi, measuring, write, wsgi

PLAIN_PORT: Final = 8000
TLS_PORT: Final = 8443
PORTS: Final = (PLAIN_PORT, TLS_PORT)
_BACKLOG: Final = 64
_POLL_S: Final = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", choices=SERVERS, default="uvicorn")
    parser.add_argument("--http", choices=("h11", "httptools"), default="h11")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--layer", choices=LAYERS, default="wire")
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--dual-stack", action="store_true")
    chosen = parser.parse_args()
    # asyncio warns of each write after the client has gone.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    SERVERS[chosen.server](chosen)


def _serve_uvicorn(chosen: argparse.Namespace) -> None:
    with measuring(StreamBytesMiddleware, asgi, chosen.layer) as app:
        more = {"http": chosen.http, "loop": chosen.loop, "log_level": "warning", "lifespan": "off"}
        plain = uvicorn.Config(app, **more)
        tls = uvicorn.Config(app, ssl_certfile=chosen.certificate, **more)
        servers = [uvicorn.Server(one) for one in (plain, tls)]

        async def serve() -> None:
            sockets = [_sockets(port, dual_stack=chosen.dual_stack) for port in PORTS]
            serving = [
                asyncio.create_task(server.serve(sockets=own))
                for server, own in zip(servers, sockets, strict=True)
            ]
            # The sockets listen; what comes before a server takes over waits in their queues.
            write({"ready": True})
            await _end().wait()
            for server in servers:
                server.should_exit = True
            await asyncio.gather(*serving)

        with asyncio.Runner(loop_factory=plain.get_loop_factory()) as runner:
            runner.run(serve())


def _serve_hypercorn(chosen: argparse.Namespace) -> None:
    config = HypercornConfig()
    config.insecure_bind, config.bind = [f"[::]:{PLAIN_PORT}"], [f"[::]:{TLS_PORT}"]
    config.certfile = config.keyfile = chosen.certificate
    config.loglevel = "CRITICAL"
    config.graceful_timeout = config.keep_alive_timeout = 1

    async def serve() -> None:
        threading.Thread(target=_wait_until_ready, daemon=True).start()
        await serve_hypercorn(app, config, shutdown_trigger=_end().wait)

    with measuring(StreamBytesMiddleware, asgi, chosen.layer) as app:
        asyncio.run(serve())


def _serve_gunicorn(chosen: argparse.Namespace) -> None:
    worker = {"worker_class": chosen.server.partition("-")[2], "threads": 4}
    tls = {"certfile": chosen.certificate, "keyfile": chosen.certificate}
    masters = []
    for port, more in ((PLAIN_PORT, {}), (TLS_PORT, tls)):
        master = os.fork()
        if master == 0:
            # A terminal's end must not end it before its workers have ended.
            _Gunicorn({"bind": f"[::]:{port}", **worker, **more}, chosen.layer).run()
        masters.append(master)
    _wait_until_ready()
    sys.stdin.buffer.read()
    for master in masters:
        os.kill(master, signal.SIGTERM)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(master, 0)[1]) for master in masters]
    sys.exit(max(statuses, key=abs))


class _Gunicorn(BaseApplication):  # type: ignore[misc]
    """A gunicorn with one worker, which measures until it ends."""

    def __init__(self, options: dict[str, Any], layer: str) -> None:
        self._options = options
        self._layer = layer
        self._measuring = contextlib.ExitStack()
        super().__init__()

    def load_config(self) -> None:
        fixed = {"loglevel": "critical", "graceful_timeout": 1, "control_socket_disable": True}
        for name, value in {**fixed, **self._options}.items():
            self.cfg.set(name, value)
        self.cfg.set("worker_exit", lambda _arbiter, _worker: self._measuring.close())

    def load(self) -> Any:
        return self._measuring.enter_context(measuring(WsgiMiddleware, wsgi, self._layer))


SERVERS: Final[dict[str, Callable[[argparse.Namespace], None]]] = {
    "uvicorn": _serve_uvicorn,
    "hypercorn": _serve_hypercorn,
    "gunicorn-sync": _serve_gunicorn,
    "gunicorn-gthread": _serve_gunicorn,
}


def _sockets(port: int, *, dual_stack: bool) -> list[socket.socket]:
    both = socket.create_server(
        ("::", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=dual_stack
    )
    if dual_stack:
        return [both]
    return [both, socket.create_server(("0.0.0.0", port), backlog=_BACKLOG)]


def _wait_until_ready() -> None:
    for port in PORTS:
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("::1", port)).close()
                break
            time.sleep(_POLL_S)
    write({"ready": True})


def _end() -> asyncio.Event:
    """Return what is set when standard input ends."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True).start()
    return ended


if __name__ == "__main__":
    main()
