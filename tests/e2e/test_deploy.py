"""The guide of deployment: what it says was tried is tried here."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from streamgauge import Ingestion, track_stream_bytes
from streamgauge.sinks.base import RetryLaterError
from streamgauge.testing import MemorySink
from tests.unit.examples.conftest import EXAMPLES, KEY, serving

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "deploy.md").read_text("utf-8")
BIN = Path(sys.executable).parent
FILM_BYTES = 50_000_000
CLIP_BYTES = 200_000
# What a container's runtime does, by the same calls: one writable volume, the rest read-only.
CONTAINER = """
set -eu
mount --make-rprivate /
mount --bind "$VOLUME" "$VOLUME"
mount --bind / /
mount -o remount,bind,ro /
exec "$@"
"""


def blocks(start: str) -> list[Any]:
    """Return what the guide's fenced blocks hold that begin so."""
    return re.findall(f"{start}(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


class Container:
    """The video platform as process 1 on a read-only root."""

    def __init__(self, volume: Path, media: Path, url: str, spool_dir: Path) -> None:
        uvicorn = [BIN / "uvicorn", "video_platform:app", "--app-dir", EXAMPLES, "--port", "0"]
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", CONTAINER, "sh",
             *uvicorn, "--timeout-graceful-shutdown", "1"],
            env={
                **os.environ,
                "VOLUME": str(volume),
                "MEDIA": str(media),
                "STREAMGAUGE_URL": url,
                "STREAMGAUGE_SPOOL_DIR": str(spool_dir),
                "DODO_PAYMENTS_API_KEY": KEY,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.output = ""
        for line in self.process.stdout:
            self.output += line
            if found := re.search(r"127\.0\.0\.1:([0-9]+)", line):
                self.url = f"http://127.0.0.1:{found[1]}/video"
                self.port = int(found[1])
                return
        raise AssertionError(self.output)

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to its process 1, as a runtime does."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """End it; return the seconds that it took."""
        started_s = time.monotonic()
        if self.process.poll() is None:
            self.tell(number)
        self.output += self.process.communicate(timeout=25)[0]
        return time.monotonic() - started_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGKILL)


@pytest.fixture
def received() -> MemorySink:
    return MemorySink()


@pytest.fixture
def url(received: MemorySink) -> Iterator[str]:
    with serving(received) as url:
        yield url


Start = Callable[..., Container]


@pytest.fixture
def start(tmp_path: Path, url: str) -> Iterator[Start]:
    media, volume = tmp_path / "media", tmp_path / "volume"
    volume.mkdir()
    media.mkdir()
    with (media / "film-720p.mp4").open("wb") as film:
        film.truncate(FILM_BYTES)
    (media / "trailer-720p.mp4").write_bytes(b"x" * CLIP_BYTES)
    started: list[Container] = []

    def run(spool_dir: Path | None = None) -> Container:
        started.append(Container(volume, media, url, spool_dir or volume / "spool"))
        return started[-1]

    yield run
    for container in started:
        container.__exit__()


def trailer(container: Container, customer: str = "ann") -> None:
    answer = httpx.get(f"{container.url}/trailer-720p.mp4?token=token-of-{customer}")
    assert len(answer.content) == CLIP_BYTES


@pytest.mark.netns
def test_a_container_drains_when_it_is_told_to_end(start: Start, received: MemorySink) -> None:
    container = start()
    trailer(container)
    arrived = 0
    with socket.socket() as viewer:
        viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        viewer.connect(("127.0.0.1", container.port))
        viewer.sendall(b"GET /video/film-720p.mp4?token=token-of-bob HTTP/1.1\r\nhost: a\r\n\r\n")
        while arrived < 1_000_000:
            arrived += len(viewer.recv(65_536))
        container.tell(signal.SIGTERM)
        while data := viewer.recv(65_536):
            arrived += len(data)
            time.sleep(0.001)
    assert container.stop() < 10
    assert container.process.returncode == 0
    billed = received.bytes_by_customer()
    assert billed["customer_ann"] == CLIP_BYTES
    assert arrived > 1_000_000
    assert abs(billed["customer_bob"] / arrived - 1) < 0.05


@pytest.mark.netns
def test_two_containers_on_one_volume_bill_every_byte_once(
    start: Start, received: MemorySink
) -> None:
    one, other = start(), start()
    for _ in range(3):
        trailer(one)
        trailer(other, "bob")
    for container in (one, other):
        container.stop()
        assert container.process.returncode == 0
    expected = {"customer_ann": 3 * CLIP_BYTES, "customer_bob": 3 * CLIP_BYTES}
    assert received.bytes_by_customer() == expected
    assert received.repeats == 0


@pytest.mark.netns
def test_what_a_killed_container_had_counted_is_billed_by_the_next(
    start: Start, received: MemorySink
) -> None:
    killed = start()
    trailer(killed)
    killed.stop(signal.SIGKILL)
    assert received.events == []
    trailer(start(), "bob")
    received.wait_for_events(1)
    assert received.bytes_by_customer() == {"customer_ann": CLIP_BYTES}


@pytest.mark.netns
def test_a_container_without_a_volume_counts_in_memory_and_says_so(
    start: Start, received: MemorySink, tmp_path: Path
) -> None:
    container = start(tmp_path / "nowhere")
    trailer(container)
    container.stop()
    assert received.bytes_by_customer() == {"customer_ann": CLIP_BYTES}
    assert "the spool is in memory only" in container.output


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is missing")
def test_systemd_takes_the_units_of_the_guide(tmp_path: Path) -> None:
    units = blocks(r"^```ini\n# /etc/systemd/system/(\S+)\n")
    assert len(units) == 3
    for name, text in units:
        here = re.sub(r"ExecStart=/srv/\w+/\.venv/bin", f"ExecStart={BIN}", text)
        (tmp_path / name).write_text(here)
    names = [tmp_path / name for name, _ in units]
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def test_the_manifest_is_yaml_that_mounts_what_the_application_is_told() -> None:
    (text,) = blocks("^```yaml\n")
    pod = yaml.safe_load(text)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (spool,) = (each["value"] for each in container["env"])
    assert spool.startswith(container["volumeMounts"][0]["mountPath"])


def test_a_function_delivers_before_it_returns(
    tmp_path: Path, streamgauge_sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    (program,) = blocks("<!-- run: serverless -->\n```python\n")

    def ingestion(**options: Any) -> Ingestion:
        return Ingestion(**options | {"spool_dir": tmp_path / "usage", "sink": streamgauge_sink})

    names: dict[str, Any] = {
        "Ingestion": ingestion,
        "track_stream_bytes": track_stream_bytes,
        "make_report": lambda event: "x" * event["size"],
        "log": logging.getLogger("function"),
    }
    exec(program.replace("timeout_s=2", "timeout_s=0.3"), names)
    assert names["handler"]({"customer": "ann", "size": 7}, None)["statusCode"] == 200
    assert streamgauge_sink.bytes_by_customer() == {"ann": 7}
    assert caplog.records == []
    streamgauge_sink.fail_next(*[RetryLaterError("away")] * 1_000)
    assert names["handler"]({"customer": "ann", "size": 8}, None)["statusCode"] == 200
    assert "usage waits in this instance" in caplog.text
    streamgauge_sink._failures.clear()
    names["ingestion"].close()
    assert streamgauge_sink.bytes_by_customer() == {"ann": 15}


SANDBOXED = """
import ctypes, os, struct, sys

SOCKET = {"x86_64": 41, "aarch64": 198}[os.uname().machine]
AF_NETLINK, ALLOW, EPERM = 16, 0x7FFF0000, 0x00050001
# Load the number of the call; if it is socket, load its first argument; if that is netlink, EPERM.
program = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in [
        (0x20, 0, 0, 0), (0x15, 0, 3, SOCKET), (0x20, 0, 0, 16), (0x15, 0, 1, AF_NETLINK),
        (0x06, 0, 0, EPERM), (0x06, 0, 0, ALLOW)])
buffer = ctypes.create_string_buffer(program, len(program))
filter = ctypes.create_string_buffer(struct.pack("@HP", 6, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, filter, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from streamgauge import Ingestion, StreamBytesMiddleware

ingestion = Ingestion(environment="test_mode", event_name="stream", base_url=sys.argv[1],
                      spool_dir=sys.argv[2])

def tell(measured):
    wire = measured.wire
    print("measured", measured.payload.bytes, measured.is_complete, wire.how.value, flush=True)

async def media(request):
    return Response(b"x" * request.path_params["size"])

app = Starlette(routes=[Route("/{size:int}", media)])
app = StreamBytesMiddleware(app, ingestion=ingestion, customer=lambda _: "ann", on_measured=tell)
try:
    uvicorn.run(app, port=0)
finally:
    ingestion.close(20)
"""


def test_without_netlink_everything_is_billed_and_says_what_is_estimated(
    tmp_path: Path, url: str, received: MemorySink
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SANDBOXED, url, tmp_path / "spool"],
        env={**os.environ, "DODO_PAYMENTS_API_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        output = ""
        while not (found := re.search(r"http://127\.0\.0\.1:[0-9]+", output)):
            line = process.stdout.readline()
            assert line, output
            output += line
        with httpx.Client() as client:
            for size in (100_000, 200_000):
                assert len(client.get(f"{found[0]}/{size}").content) == size
        process.send_signal(signal.SIGINT)
        output += process.stdout.read()
    assert output.count("no netlink, so the ends of connections are estimated") == 1
    assert "measured 100000 True measured" in output
    assert "measured 200000 True estimated" in output
    assert received.bytes_by_customer() == {"ann": 300_000}, output
