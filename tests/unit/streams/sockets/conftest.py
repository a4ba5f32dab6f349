from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamgauge import Ingestion
from streamgauge.sockets import SocketMeter
from streamgauge.streams.layers import Measured
from streamgauge.testing import MemorySink
from tests.unit.streams.sockets.peers import Meters, Pair


@pytest.fixture
def measured() -> list[Measured]:
    return []


@pytest.fixture
def meters(streamgauge_ingestion: Ingestion, measured: list[Measured]) -> Iterator[Meters]:
    made: list[SocketMeter] = []

    def make(**options: Any) -> SocketMeter:
        made.append(SocketMeter(streamgauge_ingestion, on_measured=measured.append, **options))
        return made[-1]

    yield make
    for meter in made:
        meter.close()


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Give the client's end of a TCP connection, and the server's."""
    host = getattr(request, "param", "127.0.0.1")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        server, _ = listener.accept()
    with client, server:
        yield client, server


@pytest.fixture
def billed(
    streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> Callable[[], dict[str, int]]:
    def ask() -> dict[str, int]:
        assert streamgauge_ingestion.flush()
        return streamgauge_sink.bytes_by_customer()

    return ask
