from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamgauge.server.catalog import Catalog
from streamgauge.server.layout import CATALOG
from tests.nursery import Life, serve_plainly


class Server:
    """A real server process on a data directory of its own."""

    def __init__(self, data_dir: Path, **flags: str) -> None:
        self.data_dir = data_dir
        self._serving = functools.partial(serve_plainly, flags=flags)
        self._life: Life | None = None
        self._token: str | None = None
        self.log = data_dir.with_suffix(".log")

    def start(self, **options: str) -> Server:
        """Start it, with options of its configuration."""
        environ = {f"STREAMGAUGE_{name.upper()}": text for name, text in options.items()}
        environ["STREAMGAUGE_LOG_FORMAT"] = "json"
        self._life = Life(self._serving, self.data_dir, self.log, environ)
        self.url = self._life.url
        assert self.url, self.log.read_text()
        return self

    @property
    def token(self) -> str:
        if self._token is None:
            catalog = Catalog(self.data_dir / CATALOG)
            self._token = catalog.keys.create(mode="test_mode", name="tests").token
            catalog.close()
        return self._token

    def client(self, token: str | None = None) -> httpx.Client:
        headers = {"authorization": f"Bearer {token or self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def operator(self) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self.data_dir / "admin.sock"))
        return httpx.Client(transport=transport, base_url="http://operator", timeout=30)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        life, self._life = self._life, None
        return 0 if life is None else life.end(number)


@pytest.fixture(scope="session")
def server_type() -> type[Server]:
    return Server


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    made: list[Server] = []

    def new() -> Server:
        made.append(Server(tmp_path / f"data{len(made)}"))
        return made[-1]

    yield new
    for server in made:
        server.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server") / "data").start()
    yield running
    running.kill()


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as opened:
        yield opened


@pytest.fixture
def event() -> Callable[..., dict[str, Any]]:
    def new(event_id: str, **changes: Any) -> dict[str, Any]:
        whole = {
            "event_id": event_id,
            "customer_id": "cus_1",
            "event_name": "stream",
            "metadata": {"bytes": 1},
        }
        return whole | changes

    return new
