from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamgauge.sinks.base import Outgoing
from streamgauge.testing import MemorySink

EXAMPLES = Path(__file__).parents[3] / "examples"
KEY = "sg_test_of_the_examples"


class _Event(msgspec.Struct):
    event_id: str


class _Batch(msgspec.Struct):
    events: list[msgspec.Raw]


class UsageApi(BaseHTTPRequestHandler):
    """The usage API over HTTP, in front of a sink in memory."""

    protocol_version = "HTTP/1.1"
    sink: MemorySink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        accepted = (
            self.path == "/events/ingest" and self.headers["authorization"] == f"Bearer {KEY}"
        )
        answer = b"{}"
        if accepted:
            batch = []
            for raw in msgspec.json.decode(body, type=_Batch).events:
                event_id = msgspec.json.decode(raw, type=_Event).event_id
                batch.append(Outgoing(event_id=event_id, body=bytes(raw), quantity=None))
            self.sink.deliver(batch)
            answer = b'{"ingested_count":%d}' % len(batch)
        self.send_response(200 if accepted else 401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


class Running:
    """An example in a process of its own, run as its reader would."""

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, EXAMPLES / name],
            env={**os.environ, "PORT": "0", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        self.output = ""
        for line in self._process.stdout:
            self.output += line
            if found := re.search(r"127\.0\.0\.1:([0-9]+)", line):
                self.port = int(found[1])
                return
        raise AssertionError(self.output)

    def stop(self) -> None:
        """End it as Ctrl-C does; it delivers what it counted."""
        self._process.send_signal(signal.SIGINT)
        self.output += self._process.communicate(timeout=20)[0]

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=20)


@contextlib.contextmanager
def serving(sink: MemorySink) -> Iterator[str]:
    """Serve the usage API in front of ``sink``; yield its address."""
    handler = type("Handler", (UsageApi,), {"sink": sink})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


@pytest.fixture
def received() -> MemorySink:
    return MemorySink()


@pytest.fixture
def run(tmp_path: Path, received: MemorySink) -> Iterator[Callable[[str], Running]]:
    (tmp_path / "media").mkdir()
    with serving(received) as url:
        environment = {
            "DODO_PAYMENTS_API_KEY": KEY,
            "STREAMGAUGE_URL": url,
            "STREAMGAUGE_SPOOL_DIR": str(tmp_path / "spool"),
            "MEDIA": str(tmp_path / "media"),
        }
        running: list[Running] = []

        def start(name: str) -> Running:
            running.append(Running(name, environment))
            return running[-1]

        yield start
        for example in running:
            example.kill()
