from __future__ import annotations

import itertools
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.server.ingest.jetstream import JetStream
from streamgauge.server.ingest.streams import Streams

CONFIGURATION = """
server_name: {name}
listen: 127.0.0.1:{port}
http: 127.0.0.1:{monitor}
max_payload: 8MB
jetstream {{ store_dir: "{directory}" }}
cluster {{ name: tests, listen: 127.0.0.1:{route}, routes: [{routes}] }}
"""


class Nodes:
    """Three real NATS servers that are a JetStream cluster; each may be killed and started."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with FreePorts(9) as ports:
            self._ports = [dict(zip(("port", "monitor", "route"), p, strict=True)) for p in ports]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for node in range(3):
            self.start(node)

    @property
    def urls(self) -> list[str]:
        return [f"nats://127.0.0.1:{ports['port']}" for ports in self._ports]

    def start(self, node: int) -> None:
        directory = self._directory / f"node{node}"
        directory.mkdir(exist_ok=True)
        routes = ", ".join(f'"nats-route://127.0.0.1:{ports["route"]}"' for ports in self._ports)
        file = directory / "nats.conf"
        text = CONFIGURATION.format(
            name=f"node{node}", directory=directory, routes=routes, **self._ports[node]
        )
        file.write_text(text)
        program = Path(sys.executable).with_name("nats-server")
        command = [str(program), "-c", str(file), "-l", str(directory / "log")]
        self._processes[node] = subprocess.Popen(command)

    def kill(self, node: int) -> None:
        process = self._processes.pop(node)
        process.kill()
        process.wait(30)

    def connected(self) -> JetStream:
        """Return a connection, as soon as the nodes are a cluster with a leader."""
        deadline = time.monotonic() + 60
        while True:
            opened = None
            try:
                opened = JetStream(self.urls, name="tests", replicas=3)
                opened.ensure_stream("ready", "ready", bytes_max=1_000)
            except (ConfigurationError, UnavailableError):
                if opened is not None:
                    opened.close()
                assert time.monotonic() < deadline, "the nodes do not become a cluster"
                time.sleep(0.05)
            else:
                return opened

    def leader(self, stream: str) -> int:
        """Return which node leads a stream, as a node that runs says."""
        monitor = next(self._ports[node]["monitor"] for node in self._processes)
        url = f"http://127.0.0.1:{monitor}/jsz?streams=true&accounts=true"
        with urllib.request.urlopen(url, timeout=10) as answer:
            accounts = json.load(answer)["account_details"]
        found = [
            each["cluster"]["leader"]
            for account in accounts
            for each in account["stream_detail"]
            if each["name"] == stream
        ]
        return int(found[0].removeprefix("node"))

    def close(self) -> None:
        for node in list(self._processes):
            self.kill(node)


class FreePorts:
    """Hold free ports, in threes, until all are chosen."""

    def __init__(self, count: int) -> None:
        self._sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]

    def __enter__(self) -> Iterator[Any]:
        ports = iter([held.getsockname()[1] for held in self._sockets])
        return zip(ports, ports, ports, strict=True)

    def __exit__(self, *_: object) -> None:
        for held in self._sockets:
            held.close()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    directory = tmp_path_factory.mktemp("nats")
    running = Nodes(directory)
    try:
        yield running
    finally:
        running.close()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def connect(nodes: Nodes) -> Iterator[Callable[[], JetStream]]:
    """Return what connects to the cluster, as soon as it has a leader."""
    opened: list[JetStream] = []

    def new() -> JetStream:
        opened.append(nodes.connected())
        return opened[-1]

    yield new
    for each in opened:
        each.close()


_names = itertools.count()


@pytest.fixture
def streams(connect: Callable[[], JetStream]) -> Streams:
    """Return streams that no other test has."""
    return Streams(connect(), f"log{next(_names)}", bytes_max=256 * 1024 * 1024)
