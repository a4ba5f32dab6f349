from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from streamgauge.sdk.drain import drain_spools
from streamgauge.sinks.dodo import DodoSink

APP = """
import os
from streamgauge import Ingestion

ingestion = Ingestion(
    environment="test_mode", event_name="stream", api_key="sg_test_x", base_url=os.environ["URL"],
    spool_dir=os.environ["SPOOLS"], flush_interval_s=0.2, delivery_interval_s=0.1)


def app(environ, start_response):
    headers = [("x-pid", str(os.getpid())), ("x-delivers", str(ingestion.stats().delivers))]
    start_response("200 OK", headers)
    return chunks(int(environ["QUERY_STRING"]))


def chunks(count):
    with ingestion.session(customer_id="ada") as session:
        for _ in range(count):
            session.add(1000)
            yield b"x" * 1000
"""
FORKING = """
import os, sys
from streamgauge import Ingestion

ingestion = Ingestion(
    environment="test_mode", event_name="stream", api_key="sg_test_x", base_url=sys.argv[1],
    spool_dir=sys.argv[2], delivery_interval_s=0.1)
session = ingestion.session(customer_id="parent")
session.add(1000)
pid = os.fork()
if pid == 0:
    # The session goes on in both; what the parent counted stays the parent's.
    assert session.total == 0
    session.add(7)
    ingestion.track(customer_id="child", bytes=5)
    assert not ingestion.stats().delivers
    os._exit(0 if ingestion.flush(20) and ingestion.close(20) else 1)
session.add(100)
assert os.waitpid(pid, 0)[1] == 0
assert ingestion.flush(20) and ingestion.close(20)
"""


class Recorder:
    """A server of the usage API that keeps each id once, and who sent what."""

    def __init__(self) -> None:
        self.events: dict[str, Any] = {}
        self.repeats = 0
        self.requests = 0
        self.clients: set[tuple[str, int]] = set()
        self.lock = threading.Lock()
        handler = type("RecorderHandler", (RecorderHandler,), {"recorder": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()

    def bytes_by_customer(self) -> dict[str, int]:
        sums: dict[str, int] = {}
        for event in self.events.values():
            customer = event["customer_id"]
            sums[customer] = sums.get(customer, 0) + event["metadata"]["bytes"]
        return sums


class RecorderHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    recorder: Recorder

    def do_POST(self) -> None:
        events = json.loads(self.rfile.read(int(self.headers["content-length"])))["events"]
        recorder = self.recorder
        with recorder.lock:
            recorder.requests += 1
            recorder.clients.add(self.client_address)
            for event in events:
                recorder.repeats += event["event_id"] in recorder.events
                recorder.events[event["event_id"]] = event
        body = b'{"ingested_count":%d}' % len(events)
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.close()


Get = Callable[[int], Any]


class Gunicorn:
    def __init__(self, tmp_path: Path, recorder: Recorder, *options: str) -> None:
        (tmp_path / "streaming_app.py").write_text(APP)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        bind = f"127.0.0.1:{self.port}"
        command = ["-m", "gunicorn", "--no-control-socket", "-w", "4", "-b", bind, *options]
        self.process = subprocess.Popen(
            [sys.executable, *command, "streaming_app:app"],
            cwd=tmp_path,
            env={**os.environ, "URL": recorder.url, "SPOOLS": str(tmp_path / "spools")},
            stderr=subprocess.DEVNULL,
        )

    def get(self, chunks: int) -> tuple[int, bool, int]:
        """Return the worker, whether it delivers, and the bytes that came."""
        url = f"http://127.0.0.1:{self.port}/?{chunks}"
        deadline_s = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(url, timeout=20) as answer:
                    body = answer.read()
                    return (
                        int(answer.headers["x-pid"]),
                        answer.headers["x-delivers"] == "True",
                        len(body),
                    )
            except OSError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(40)


def drain(tmp_path: Path, recorder: Recorder) -> None:
    sink = DodoSink(environment="test_mode", api_key="sg_test_x", base_url=recorder.url)
    _, trouble = drain_spools(
        tmp_path / "spools", sink, environment="test_mode", on_progress=lambda _found: None
    )
    sink.close()
    assert trouble is None


def test_four_preforked_workers_bill_every_byte_once_through_their_parent(
    tmp_path: Path, recorder: Recorder
) -> None:
    host = Gunicorn(tmp_path, recorder, "--preload")
    host.get(1)
    answers: list[tuple[int, bool, int]] = []
    # On a busy machine the worker that is awake may take all of a first round.
    while len({pid for pid, _, _ in answers}) < 2:
        with ThreadPoolExecutor(8) as pool:
            answers += pool.map(host.get, [20] * 80)
    host.stop()
    drain(tmp_path, recorder)
    assert not any(delivers for _, delivers, _ in answers)
    assert recorder.bytes_by_customer() == {"ada": 1_000 + len(answers) * 20_000}
    assert recorder.repeats == 0
    # One connection of the parent, one of the drain.
    assert len(recorder.clients) <= 2
    assert list((tmp_path / "spools").iterdir()) == []


def test_when_the_worker_that_delivers_is_killed_another_delivers_and_no_byte_is_lost(
    tmp_path: Path, recorder: Recorder
) -> None:
    host = Gunicorn(tmp_path, recorder)
    answers = [host.get(3)]
    while not answers[-1][1]:
        answers.append(host.get(3))
    killed = answers[-1][0]
    os.kill(killed, signal.SIGKILL)
    seen = len(answers)
    while not answers[-1][1] or len(answers) == seen:
        answers.append(host.get(3))
    assert answers[-1][0] != killed
    host.stop()
    drain(tmp_path, recorder)
    billed, sent = recorder.bytes_by_customer(), sum(size for _, _, size in answers)
    assert billed == {"ada": sent}, (killed, answers, recorder.events, recorder.repeats)
    assert list((tmp_path / "spools").iterdir()) == []


def test_a_process_that_forks_in_a_stream_bills_every_byte_once_through_one_deliverer(
    tmp_path: Path, recorder: Recorder
) -> None:
    spools = tmp_path / "spools"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, recorder.url, str(spools)],
        check=True,
        timeout=60,
    )
    assert recorder.bytes_by_customer() == {"parent": 1_107, "child": 5}
    assert recorder.repeats == 0
    assert len(recorder.clients) == 1
    assert list(spools.iterdir()) == []
