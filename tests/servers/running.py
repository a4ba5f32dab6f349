"""Servers in processes of their own, and what they say they measured and billed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from tests.wire.client import Client, Link, client_context

ROOT: Final = Path(__file__).parents[2]
_WAIT_S: Final = 20.0


class Row(NamedTuple):
    """A row of the matrix: where it is served.

    Attributes:
        kind: Of ``serving``.
        port: Which of the server's ports.
        ports: How many ports the server has.
        is_tls: Whether TLS is spoken there.
    """

    kind: str
    port: int
    ports: int
    is_tls: bool


_PORTS: Final = {
    "uvicorn-asyncio": (
        "uvicorn h11 asyncio",
        "uvicorn h11 asyncio TLS",
        "uvicorn httptools asyncio",
        "uvicorn httptools asyncio TLS",
    ),
    "uvicorn-uvloop": (
        "uvicorn h11 uvloop",
        "uvicorn h11 uvloop TLS",
        "uvicorn httptools uvloop",
        "uvicorn httptools uvloop TLS",
    ),
    "hypercorn": ("hypercorn HTTP/1.1", "hypercorn HTTP/1.1 TLS"),
    "gunicorn-sync": ("gunicorn sync",),
    "gunicorn-sync-tls": ("gunicorn sync TLS",),
    "gunicorn-gthread": ("gunicorn gthread",),
    "gunicorn-gthread-tls": ("gunicorn gthread TLS",),
    "gunicorn-uvicorn": ("gunicorn uvicorn worker",),
    "gunicorn-asgi": ("gunicorn asgi worker",),
    "gunicorn-gevent": ("gunicorn gevent",),
    "aiohttp": ("aiohttp.web", "aiohttp.web TLS"),
    "granian": ("granian ASGI",),
    "granian-wsgi": ("granian WSGI",),
    "daphne": ("daphne",),
    "wsgiref": ("wsgiref",),
    "gunicorn-prefork": ("gunicorn sync, 4 workers",),
}
ROWS: Final = {
    name: Row(kind, port, len(names), name.endswith("TLS"))
    for kind, names in _PORTS.items()
    for port, name in enumerate(names)
}
EXITS: Final = (
    "uvicorn h11 asyncio",
    "uvicorn httptools uvloop",
    "hypercorn HTTP/1.1",
    "gunicorn sync",
    "gunicorn gthread",
    "gunicorn uvicorn worker",
)
FIRST_TIER: Final = tuple(
    name
    for name, row in ROWS.items()
    if row.kind.startswith(("uvicorn", "hypercorn", "gunicorn-s", "gunicorn-gt", "gunicorn-u"))
)
# Its own client asks, in test_http2.
HTTP_2: Final = "hypercorn HTTP/2 TLS"
SECOND_TIER: Final = tuple(
    name for name in ROWS if name not in FIRST_TIER and "workers" not in name
)


class Running:
    """A server that runs."""

    def __init__(self, row: Row, directory: Path, certificate: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        free = [socket.create_server(("127.0.0.1", 0)) for _ in range(row.ports)]
        self.ports = [one.getsockname()[1] for one in free]
        for one in free:
            one.close()
        program = (sys.executable, "-W", "ignore", "-m", "tests.servers.serving", row.kind)
        options = (str(directory), str(certificate), *map(str, self.ports))
        self._errors = (directory.parent / f"{directory.name}.errors").open("w+")
        self.process = subprocess.Popen(
            (*program, *options), stdout=subprocess.PIPE, stderr=self._errors, cwd=ROOT
        )
        self.lines: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,))
        self._reader.start()
        try:
            for port in self.ports:
                self._await_port(port)
        except BaseException:
            self.stop()
            raise

    def connect(self, row: Row) -> Client:
        """Return a client on a new connection."""
        return Client(self.link(row))

    def link(self, row: Row, receive_buffer_bytes: int | None = None) -> Link:
        made = socket.socket()
        if receive_buffer_bytes is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        made.connect(("127.0.0.1", self.ports[row.port]))
        return Link(made, client_context() if row.is_tls else None)

    def measured(self, customer: str, count: int = 1) -> list[dict[str, Any]]:
        """Return what was measured of a customer, when there are ``count`` of it."""

        def found() -> list[dict[str, Any]]:
            known = [line["measured"] for line in self.lines if "measured" in line]
            return [one for one in known if one["customer_id"] == customer]

        self.wait(lambda: len(found()) >= count, lambda: f"{found()} of {customer}")
        return found()

    def since(self, mark: int, count: int) -> list[dict[str, Any]]:
        """Return what was measured after ``mark`` lines, of anybody, when it is ``count``."""

        def found() -> list[dict[str, Any]]:
            return [line["measured"] for line in self.lines[mark:] if "measured" in line]

        self.wait(lambda: len(found()) >= count, lambda: f"{len(found())} of {count} measured")
        assert len(found()) == count
        return found()

    def billed(self, customer: str, size: int) -> None:
        """Return when a customer was billed for ``size`` bytes; fail if it never is, or exceeds."""

        self.wait(
            lambda: self.total(customer) >= size,
            lambda: f"{self.total(customer)} of {size} billed to {customer}",
        )
        assert self.total(customer) == size

    def total(self, customer: str) -> int:
        """Return what a customer was billed for so far."""
        known = [line["billed"] for line in self.lines if "billed" in line]
        return sum(
            one["metadata"].get("bytes", 0) for one in known if one["customer_id"] == customer
        )

    def naive(self, customer: str) -> int:
        """Return what a naive counter beside us had for a customer."""

        def found() -> list[int]:
            known = [line["naive"] for line in self.lines if "naive" in line]
            return [size for name, size in known if name == customer]

        self.wait(lambda: bool(found()), lambda: f"no naive count of {customer}")
        return sum(found())

    def wait(self, condition: Callable[[], bool], message: Callable[[], str]) -> None:
        end_s = time.monotonic() + _WAIT_S
        with self._changed:
            while not condition():
                if not self._changed.wait(max(end_s - time.monotonic(), 0)):
                    raise AssertionError(f"{message()}; {self.errors()}")

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition`` holds, whether or not a line has come."""
        end_s = time.monotonic() + _WAIT_S
        while not condition():
            assert time.monotonic() < end_s, self.errors()
            time.sleep(0.02)

    def pids(self, kind: str) -> set[int]:
        """Return the processes that printed lines of a kind."""
        return {line["pid"] for line in self.lines if kind in line}

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-4_000:]

    def stop(self) -> int:
        """Ask it to end, and return its status; twice is once."""
        if self._errors.closed:
            return self.process.returncode
        self.process.terminate()
        try:
            status = self.process.wait(_WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._reader.join()
        self._errors.close()
        return status

    def _await_port(self, port: int) -> None:
        end_s = time.monotonic() + _WAIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                if time.monotonic() > end_s or self.process.poll() is not None:
                    raise AssertionError(f"no server on {port}: {self.errors()}") from None
                time.sleep(0.05)
            else:
                return

    def _read(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                with self._changed:
                    self.lines.append(json.loads(line))
                    self._changed.notify_all()


class Servers:
    """Starts each server once, when it is first asked for."""

    def __init__(self, directory: Path, certificate: Path) -> None:
        self._directory = directory
        self._certificate = certificate
        self._running: dict[str, Running] = {}
        self._all: list[Running] = []

    def of(self, row: Row) -> Running:
        if row.kind not in self._running:
            self._running[row.kind] = self.start(row)
        return self._running[row.kind]

    def start(self, row: Row, name: str = "") -> Running:
        made = Running(row, self._directory / (name or row.kind), self._certificate)
        self._all.append(made)
        return made

    def close(self) -> None:
        for one in self._all:
            one.stop()
