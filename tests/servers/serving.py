"""A server to be measured: ``python -m tests.servers.serving KIND SPOOL CERTIFICATE PORT...``."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.servers import applications
from tests.servers.printing import tell

_PR_SET_PDEATHSIG: Final = 1


def uvicorn(spool: Path, certificate: Path, ports: list[int], loop: str) -> None:
    """Serve on four ports: h11, h11 with TLS, httptools, httptools with TLS."""
    import uvicorn as package

    app = applications.asgi(spool)
    configurations = [
        package.Config(
            app,
            http=http,
            loop=loop,
            ws="websockets-sansio",
            port=port,
            ssl_certfile=certificate if is_tls else None,
            log_level="critical",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        for port, (http, is_tls) in zip(
            ports,
            [("h11", False), ("h11", True), ("httptools", False), ("httptools", True)],
            strict=True,
        )
    ]

    async def serve() -> None:
        servers = [package.Server(one) for one in configurations]

        def stop(*_: object) -> None:
            for server in servers:
                server.should_exit = True

        serving = [asyncio.create_task(server._serve()) for server in servers]
        signal.signal(signal.SIGTERM, stop)
        await asyncio.gather(*serving)

    with asyncio.Runner(loop_factory=configurations[0].get_loop_factory()) as runner:
        runner.run(serve())


def hypercorn(spool: Path, certificate: Path, ports: list[int]) -> None:
    """Serve on a plain port and one with TLS; HTTP/2 where the client wants it."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.insecure_bind = [f"127.0.0.1:{ports[0]}"]
    config.bind = [f"127.0.0.1:{ports[1]}"]
    config.certfile = config.keyfile = str(certificate)
    config.graceful_timeout = config.keep_alive_timeout = 1
    config.loglevel = "CRITICAL"

    async def main() -> None:
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        await serve(applications.asgi(spool), config, shutdown_trigger=stopped.wait)

    asyncio.run(main())


def gunicorn(spool: Path, certificate: Path, ports: list[int], *options: str) -> None:
    """Serve as its command line does; ``preload`` builds the application before the fork."""
    from gunicorn.app.base import BaseApplication

    chosen: dict[str, Any] = dict(option.split("=") for option in options)
    chosen["control_socket_disable"] = True
    if chosen.pop("tls", ""):
        chosen.update(certfile=str(certificate), keyfile=str(certificate))

    class Application(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            defaults = {"bind": f"127.0.0.1:{ports[0]}", "loglevel": "critical"}
            for name, value in {**defaults, "graceful_timeout": "2", **chosen}.items():
                self.cfg.set(name, value)

        def load(self) -> Any:
            worker = chosen.get("worker_class", "sync")
            is_asgi = "uvicorn" in worker or "asgi" in worker
            return (applications.asgi if is_asgi else applications.wsgi)(spool)

    Application().run()


def granian(spool: Path, certificate: Path, ports: list[int], interface: str) -> None:
    """Serve as its command line does."""
    from granian import Granian
    from granian.constants import Interfaces

    made = applications.asgi if interface == "asgi" else applications.wsgi
    Granian(
        "app",
        address="127.0.0.1",
        port=ports[0],
        interface=Interfaces(interface),
        log_enabled=False,
        workers_kill_timeout=2,
    ).serve(target_loader=lambda *_, **__: made(spool), wrap_loader=False)


def daphne(spool: Path, certificate: Path, ports: list[int]) -> None:
    """Serve as its command line does."""
    from daphne.server import Server

    endpoint = f"tcp:port={ports[0]}:interface=127.0.0.1"
    Server(applications.asgi(spool), endpoints=[endpoint], verbosity=0).run()


def wsgiref(spool: Path, certificate: Path, ports: list[int]) -> None:
    """Serve one connection at a time."""
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    app = applications.wsgi(spool)
    with make_server("127.0.0.1", ports[0], app, handler_class=Quiet) as server:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        server.serve_forever()


def aiohttp_web(spool: Path, certificate: Path, ports: list[int]) -> None:
    """Serve on a plain port and one with TLS."""
    import ssl

    from aiohttp import web

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def main() -> None:
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        runner = web.AppRunner(applications.aiohttp_web(spool), shutdown_timeout=1)
        await runner.setup()
        for port, tls in zip(ports, [None, context], strict=True):
            await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        await stopped.wait()
        await runner.cleanup()

    asyncio.run(main())


KINDS: Final[dict[str, tuple[Callable[..., None], tuple[str, ...]]]] = {
    "uvicorn-asyncio": (uvicorn, ("asyncio",)),
    "uvicorn-uvloop": (uvicorn, ("uvloop",)),
    "hypercorn": (hypercorn, ()),
    "gunicorn-sync": (gunicorn, ()),
    "gunicorn-sync-tls": (gunicorn, ("tls=1",)),
    "gunicorn-gthread": (gunicorn, ("worker_class=gthread", "threads=4")),
    "gunicorn-gthread-tls": (gunicorn, ("worker_class=gthread", "threads=4", "tls=1")),
    "gunicorn-uvicorn": (gunicorn, ("worker_class=uvicorn.workers.UvicornWorker",)),
    "gunicorn-asgi": (gunicorn, ("worker_class=asgi",)),
    "gunicorn-gevent": (gunicorn, ("worker_class=gevent",)),
    "aiohttp": (aiohttp_web, ()),
    "granian": (granian, ("asgi",)),
    "granian-wsgi": (granian, ("wsgi",)),
    "daphne": (daphne, ()),
    "wsgiref": (wsgiref, ()),
    "gunicorn-prefork": (
        gunicorn,
        ("workers=4", "preload_app=true"),
    ),
}


def main() -> None:
    kind, spool, certificate, *ports = sys.argv[1:]
    # The server must not outlive the tests.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    serve, options = KINDS[kind]
    serve(Path(spool), Path(certificate), [int(port) for port in ports], *options)
    tell("stopped", kind)


if __name__ == "__main__":
    main()
