"""What a real nginx sends, joined from its log and its sockets."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamgauge.core.errors import LockedError
from streamgauge.nginx import NginxLog
from streamgauge.streams.kernel.tcp_info import read as read_counters
from streamgauge.testing import MemorySink

pytestmark = pytest.mark.nginx
MIB = 1024 * 1024
FILM_BYTES = 100 * MIB
CLIP_BYTES = 100_000
Read = Callable[..., Any]


def logged(nginx: Any, count: int) -> list[dict[str, Any]]:
    """Return the lines of the log once there are so many."""
    deadline_s = time.monotonic() + 10
    while True:
        lines = [json.loads(line) for line in nginx.log.read_text().splitlines()]
        if len(lines) >= count:
            return lines
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def hang_up(port: int, path: str, after: int, host: str = "127.0.0.1", *, tls: bool = False) -> int:
    """Read ``after`` bytes of a body and reset; return what reached this kernel's TCP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        plain.connect((host, port))
        client = plain
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            client = context.wrap_socket(plain)
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        size = 0
        while size < after:
            size += len(client.recv(65_536))
        # nginx fills its socket meanwhile; and what it hands over must not arrive later than this.
        time.sleep(0.2)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        counters = read_counters(client)
        assert counters is not None
        client.close()
        return counters.received


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_completed_responses_are_billed_as_the_log_has_them(
    nginx: Any, read: Read, streamgauge_sink: MemorySink, host: str
) -> None:
    reading = read()
    address = f"http://{host}:{nginx.port}"
    with httpx.Client() as client:
        for customer in ("ann", "bob", "ann", "nobody"):
            answer = client.get(f"{address}/{customer}/clip.ts")
            assert len(answer.content) == CLIP_BYTES
            assert not [name for name in answer.headers if "streamgauge" in name]
        part = {"range": "bytes=100-299"}
        assert len(client.get(f"{address}/bob/clip.ts", headers=part).content) == 200
        assert client.head(f"{address}/bob/clip.ts").status_code == 200
    assert reading.billed(5) == {"ann": 2 * CLIP_BYTES, "bob": CLIP_BYTES + 200}
    assert {event.metadata["sg_how"] for event in streamgauge_sink.events} == {"measured"}
    assert streamgauge_sink.events[0].metadata["title"] == "„clip.ts“"
    stats = reading.reader.stats()
    assert (stats.unattributed_bytes, stats.never_arrived_bytes) == (CLIP_BYTES, 0)
    assert (stats.waiting_responses, stats.refused_lines, stats.estimated_bytes) == (0, 0, 0)


@pytest.mark.parametrize(
    ("host", "tls"), [("127.0.0.1", False), ("::1", False), ("127.0.0.1", True)]
)
def test_who_hangs_up_pays_for_what_arrived(
    nginx: Any, read: Read, streamgauge_sink: MemorySink, host: str, tls: bool
) -> None:
    reading = read()
    arrived = hang_up(nginx.tls_port if tls else nginx.port, "/ann/film.mp4", MIB, host, tls=tls)
    billed = reading.billed(1)["ann"]
    (line,) = logged(nginx, 1)
    head = line["sent"] - line["body"]
    sys.stdout.write(f"arrived {arrived - head}, billed {billed}, by the log {line['body']}\n")
    if tls:
        assert abs(billed / arrived - 1) < 0.01
    else:
        assert billed == arrived - head
    assert line["body"] > arrived * 1.3
    assert reading.reader.stats().never_arrived_bytes == line["body"] - billed
    (event,) = streamgauge_sink.events
    assert event.metadata["sg_how"] == ("estimated" if tls else "computed")


def test_the_last_of_several_requests_is_cut_and_no_other(nginx: Any, read: Read) -> None:
    reading = read("http")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        client.connect(("127.0.0.1", nginx.port))
        for _ in range(3):
            client.sendall(b"GET /ann/clip.ts HTTP/1.1\r\nhost: a\r\n\r\n")
            size = 0
            while size < CLIP_BYTES + 200:
                size += len(client.recv(65_536))
        counters = read_counters(client)
        assert counters is not None
        whole = counters.received
        client.sendall(b"GET /bob/film.mp4 HTTP/1.1\r\nhost: a\r\n\r\n")
        size = 0
        while size < MIB:
            size += len(client.recv(65_536))
        time.sleep(0.2)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        counters = read_counters(client)
        assert counters is not None
        last = counters.received - whole
    billed = reading.billed(4)
    assert billed["ann"] == sum(line["sent"] for line in logged(nginx, 4)[:3]) == whole
    assert abs(billed["bob"] / last - 1) < 0.001


def test_layers_below_http_are_shared_to_the_byte(
    nginx: Any, read: Read, streamgauge_sink: MemorySink
) -> None:
    reading = read("wire")
    with httpx.Client(verify=False) as client:
        for customer in ("ann", "bob", "ann"):
            client.get(f"https://127.0.0.1:{nginx.tls_port}/{customer}/clip.ts")
    billed = reading.billed(3)
    sent = sum(line["sent"] for line in logged(nginx, 3))
    assert 1.0 < sum(billed.values()) / sent < 1.05
    assert abs(billed["ann"] / billed["bob"] - 2) < 0.01
    assert {event.metadata["sg_how"] for event in streamgauge_sink.events} == {"estimated"}


def test_a_reader_that_starts_again_bills_nothing_twice_and_misses_nothing(
    nginx: Any, read: Read, streamgauge_sink: MemorySink
) -> None:
    reading = read()
    address = f"http://127.0.0.1:{nginx.port}"
    with httpx.Client() as kept:
        kept.get(f"{address}/ann/clip.ts")
        httpx.get(f"{address}/bob/clip.ts")
        assert reading.billed(1) == {"bob": CLIP_BYTES}
        # Ann's waits for the end of her connection, which comes while nobody reads.
        reading.reader.close()
        httpx.get(f"{address}/bob/clip.ts")
        kept.get(f"{address}/ann/clip.ts")
    reading = read()
    # Her second request proves the first. Nobody heard how connections ended meanwhile, so that
    # the kernel is asked whether it still has them.
    assert reading.billed(1) == {"ann": CLIP_BYTES, "bob": CLIP_BYTES}
    reading.reader._joining._quiet_ns = 0
    assert reading.billed(3) == {"ann": 2 * CLIP_BYTES, "bob": 2 * CLIP_BYTES}
    assert streamgauge_sink.repeats == 0
    assert reading.reader.stats().estimated_bytes == 2 * CLIP_BYTES


def test_a_rotated_log_is_read_to_its_end_and_on(nginx: Any, read: Read) -> None:
    reading = read()
    address = f"http://127.0.0.1:{nginx.port}"
    httpx.get(f"{address}/ann/clip.ts")
    reading.billed(1)
    nginx.log.rename(f"{nginx.log}.1")
    # nginx was not told yet, and goes on in the old file.
    httpx.get(f"{address}/ann/clip.ts")
    logged_before = Path(f"{nginx.log}.1")
    deadline_s = time.monotonic() + 10
    while len(logged_before.read_text().splitlines()) < 2:
        assert time.monotonic() < deadline_s, "the line comes after the last byte"
        time.sleep(0.02)
    nginx.reopen_logs()
    while not nginx.log.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    httpx.get(f"{address}/ann/clip.ts")
    reading.billed(2)
    reading.reader.close()
    # A second rotation, while nobody reads.
    logged_before.rename(f"{nginx.log}.2")
    nginx.log.rename(f"{nginx.log}.1")
    nginx.reopen_logs()
    while not nginx.log.exists():
        time.sleep(0.02)
    httpx.get(f"{address}/ann/clip.ts")
    reading = read()
    reading.reader._tail._clock = Hurried()
    reading.reader._joining._quiet_ns = 0
    assert reading.billed(2) == {"ann": 4 * CLIP_BYTES}
    assert reading.reader.stats().gaps == 0


class Hurried:
    """A clock on which every look at a file is ten seconds later."""

    def __init__(self) -> None:
        self._now_ns = 0

    def time_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        self._now_ns += 10_000_000_000
        return self._now_ns


def test_a_log_has_one_reader(nginx: Any, read: Read, tmp_path: Path) -> None:
    reading = read()
    with pytest.raises(LockedError, match=r"access\.log"):
        NginxLog(reading._ingestion, nginx.log, state_dir=tmp_path / "state", ports=(80,))
