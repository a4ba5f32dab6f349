"""Serve: a TCP socket for everyone with a key, a private unix socket for the local operator."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from streamgauge.core.errors import ConfigurationError
from streamgauge.server.api.auth import OPERATOR_STATE
from streamgauge.server.app import Opened, RunningParts, create_app
from streamgauge.server.config import Config
from streamgauge.server.connections import BoundedHttp
from streamgauge.server.front import tls_context, warn_of_plain_http, with_cors
from streamgauge.server.layout import ADDRESS, ADMIN_SOCKET
from streamgauge.server.telemetry import configure_logging

_log = logging.getLogger("streamgauge.server")

_SOCKET_PATH_BYTES_MAX: Final = 100
_BACKLOG: Final = 2_048
_KEEP_ALIVE_S: Final = 75


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """A server that accepts requests.

    Attributes:
        host: Address it listens on.
        port: TCP port it listens on.
        tls: It speaks TLS there.
        admin_socket: The operator's unix socket.
        parts: The running parts.
    """

    host: str
    port: int
    tls: bool = False
    admin_socket: Path
    parts: RunningParts

    @property
    def url(self) -> str:
        """Return the base URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self._scheme}://{host}:{self.port}"

    @property
    def local_url(self) -> str:
        """Return the base URL for this machine, which cannot open "every address"."""
        here = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host)  # noqa: S104 - names them
        return self.url if here is None else f"{self._scheme}://{here}:{self.port}"

    @property
    def _scheme(self) -> str:
        return "https" if self.tls else "http"


AppFactory = Callable[[RunningParts], ASGIApp]
OnReady = Callable[[Ready], Awaitable[None] | None]


class _Server(uvicorn.Server):
    """A server that leaves signals to its owner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class Operator:
    """Marks every request as the local operator's.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the operator."""
        state = {**scope.get("state", {}), OPERATOR_STATE: True}
        await self._app({**scope, "state": state}, receive, send)


def serve(
    config: Config,
    on_ready: OnReady | None = None,
    *,
    app_factory: AppFactory = create_app,
    stop: Callable[[asyncio.Event], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; return when everything accepted is settled.

    Args:
        config: All options.
        on_ready: Called on the loop once requests are answered.
        app_factory: Makes the application; the default has no pages.
        stop: Called on the loop with an event; setting it stops the server.

    Raises:
        LockedError: Another process has the data directory open.
        ConfigurationError: The data directory or the address does not fit.
        UnavailableError: The event engine does not open.
    """
    configure_logging(level=config.log.level, as_json=config.log.format == "json")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_async(config, on_ready, app_factory=app_factory, stop=stop))


async def serve_async(
    config: Config,
    on_ready: OnReady | None = None,
    *,
    app_factory: AppFactory = create_app,
    stop: Callable[[asyncio.Event], None] | None = None,
) -> None:
    """Do what ``serve`` does, on the running loop; signals are taken on the main thread only."""
    stopping = asyncio.Event()
    with _signals(stopping), contextlib.ExitStack() as held:
        # Before the parts, which take their time: what cannot be used is told at once.
        tls = tls_context(config.listen)
        tcp = held.enter_context(_tcp_socket(config))
        opened = await asyncio.to_thread(Opened, config)
        try:
            app = app_factory(opened.parts)
            path = config.data_dir.absolute() / ADMIN_SOCKET
            unix = held.enter_context(_unix_socket(path))
            opened.start()
            opened.keep_retention()
            host, port = tcp.getsockname()[:2]
            ready = Ready(
                host=host, port=port, tls=tls is not None, admin_socket=path, parts=opened.parts
            )
            warn_of_plain_http(config.listen, host)
            servers = (_public_server(config, app, tls), _server(config, Operator(app)))
            held.enter_context(_address(path.with_name(ADDRESS), ready.local_url))
            if stop is not None:
                stop(stopping)
            await _serve_both(servers, (tcp, unix), stopping, on_ready, ready)
        finally:
            await opened.close()


async def _serve_both(
    servers: tuple[_Server, _Server],
    sockets: tuple[socket.socket, socket.socket],
    stopping: asyncio.Event,
    on_ready: OnReady | None,
    ready: Ready,
) -> None:
    async with asyncio.TaskGroup() as group:
        for server, bound in zip(servers, sockets, strict=True):
            group.create_task(server.serve(sockets=[bound]))
        while not all(server.started for server in servers):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.005)
        _log.info("serving at %s and %s", ready.url, ready.admin_socket)
        if on_ready is not None and (waiting := on_ready(ready)) is not None:
            await waiting
        await stopping.wait()
        _log.info("stopping")
        for server in servers:
            server.should_exit = True


def _public_server(config: Config, app: ASGIApp, tls: ssl.SSLContext | None) -> _Server:
    trusted = config.listen.trusted_proxies
    return _server(
        config,
        with_cors(app, config.listen),
        ssl_context_factory=None if tls is None else lambda *_: tls,
        proxy_headers=bool(trusted),
        forwarded_allow_ips=list(trusted),
    )


def _server(config: Config, app: ASGIApp, **more: object) -> _Server:
    options: dict[str, Any] = {"proxy_headers": False} | more
    return _Server(
        uvicorn.Config(
            app,
            http=BoundedHttp,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, int(config.stop_timeout_s)),
            **options,
        )
    )


@contextlib.contextmanager
def _signals(stopping: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    taken = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only the main thread can take signals; elsewhere the owner stops us.
        with contextlib.suppress(ValueError, RuntimeError):
            loop.add_signal_handler(number, stopping.set)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _tcp_socket(config: Config) -> Iterator[socket.socket]:
    host, port = config.listen.host, config.listen.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.closing(socket.socket(family, kind, protocol)) as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            # uvicorn listens, once there is somebody to answer.
            yield bound
    except OSError as error:
        raise ConfigurationError(
            f"listen.host {host!r} and listen.port {port} (--host, --port) cannot be used: {error}"
        ) from error


@contextlib.contextmanager
def _address(path: Path, url: str) -> Iterator[None]:
    """Keep the address where the operator's commands find it, as long as somebody answers."""
    path.write_text(f"{url}\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _unix_socket(path: Path) -> Iterator[socket.socket]:
    """Bind the operator's socket; the directory is private and its lock is ours."""
    path.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    # Addresses of unix sockets are short; a long path is reached through its directory.
    short = len(os.fsencode(path)) <= _SOCKET_PATH_BYTES_MAX
    address = str(path) if short else f"/proc/self/fd/{directory}/{path.name}"
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as bound:
            bound.bind(address)
            path.chmod(0o600)
            bound.listen(_BACKLOG)
            yield bound
    finally:
        os.close(directory)
        path.unlink(missing_ok=True)
