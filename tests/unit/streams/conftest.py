from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from streamgauge import Ingestion, StreamSession
from streamgauge.asgi import StreamBytesMiddleware
from streamgauge.testing import MemorySink

IMPLEMENTATIONS = {
    "h11": {"http": "h11", "loop": "asyncio", "ws": "websockets-sansio"},
    "httptools": {"http": "httptools", "loop": "uvloop", "ws": "websockets-sansio"},
}


class Served:
    """A real uvicorn in a thread, on a port of the kernel's choice."""

    def __init__(self, app: Any, implementation: str) -> None:
        self._app = app
        self._ended = threading.Semaphore(0)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.errors: list[BaseException] = []
        config = uvicorn.Config(
            self._watched,
            interface="asgi3",
            log_level="critical",
            lifespan="off",
            timeout_graceful_shutdown=5,
            **IMPLEMENTATIONS[implementation],  # type: ignore[arg-type]
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()

    async def _watched(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except BaseException as error:
            self.errors.append(error)
            raise
        finally:
            self._ended.release()

    def wait_for_end(self) -> None:
        """Return when the application has left one more request or WebSocket."""
        assert self._ended.acquire(timeout=20)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._socket.close()


class Billed:
    """An application behind the middleware, and what it was billed."""

    def __init__(
        self, served: Served, meter: StreamBytesMiddleware, ingestion: Ingestion, sink: MemorySink
    ) -> None:
        self.served = served
        self.address = served.address
        self.meter = meter
        self._ingestion = ingestion
        self._sink = sink

    def flush(self) -> bool:
        """Deliver what is known to have arrived, without waiting for the rest."""
        return self._ingestion.flush(timeout_s=0.2)

    def by_customer(self, requests: int = 1) -> dict[str, int]:
        """Return bytes by customer after that many more requests have ended."""
        for _ in range(requests):
            self.served.wait_for_end()
        assert self._ingestion.flush()
        return self._sink.bytes_by_customer()


@pytest.fixture(params=["httptools"])
def serve(
    request: pytest.FixtureRequest, streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> Iterator[Callable[..., Billed]]:
    servers: list[Served] = []

    def start(app: Any, **options: Any) -> Billed:
        meter = StreamBytesMiddleware(app, ingestion=streamgauge_ingestion, **options)
        servers.append(Served(meter, request.param))
        return Billed(servers[-1], meter, streamgauge_ingestion, streamgauge_sink)

    yield start
    for served in servers:
        served.close()


@pytest.fixture
def serve_plainly() -> Iterator[Callable[[Any], Served]]:
    """Serve an application as it is."""
    servers: list[Served] = []

    def start(app: Any) -> Served:
        servers.append(Served(app, "httptools"))
        return servers[-1]

    yield start
    for served in servers:
        served.close()


@pytest.fixture
def sessions(
    streamgauge_ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> list[StreamSession]:
    opened: list[StreamSession] = []
    open_session = streamgauge_ingestion.held_session

    def recorded(**options: Any) -> StreamSession:
        opened.append(open_session(**options))
        return opened[-1]

    monkeypatch.setattr(streamgauge_ingestion, "held_session", recorded)
    return opened


both = pytest.mark.parametrize("serve", ["h11", "httptools"], indirect=True)
