"""The example and the commands of the guide, as their reader runs them."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from streamgauge.nginx import LOG_FORMAT
from streamgauge.testing import MemorySink
from tests.integration.nginx.conftest import CLIP, Nginx
from tests.unit.examples.conftest import EXAMPLES, KEY, Running, serving

pytestmark = pytest.mark.nginx
STREAMGAUGE = Path(sys.executable).parent / "streamgauge"


@pytest.fixture
def received() -> MemorySink:
    return MemorySink()


@pytest.fixture
def url(received: MemorySink) -> Iterator[str]:
    with serving(received) as url:
        yield url


def test_flask_behind_nginx_bills_what_nginx_sends(
    tmp_path: Path, received: MemorySink, url: str
) -> None:
    program = "flask_behind_nginx.py"
    documented = ast.get_docstring(ast.parse((EXAMPLES / program).read_text())) or ""
    servers = documented[documented.index("server {") :].replace("{", "{{").replace("}", "}}")
    for shown, here in {
        "listen 80": "listen 127.0.0.1:{port}",
        "/var/log/nginx/media.log": "access.log",
        ":9000": ":{application}",
        "/srv/media/": "{media}/",
    }.items():
        assert shown in servers
        servers = servers.replace(shown, here)
    example = Running(program, {})
    home = tmp_path / "nginx"
    home.mkdir()
    with Nginx(home, example.port, servers) as nginx:
        (home / "media" / "clip.ts").rename(home / "media" / "film.mp4")
        command = [STREAMGAUGE, "nginx", "follow", nginx.log, "--port", str(nginx.port)]
        command += ["--event-name", "stream_consumption", "--mode", "test_mode", "--url", url]
        environment = {
            **os.environ,
            "DODO_PAYMENTS_API_KEY": KEY,
            "STREAMGAUGE_SPOOL_DIR": str(tmp_path / "state" / "spool"),
        }
        with subprocess.Popen(
            [*map(str, command), "--log-delay-s", "0.2"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        ) as reader:
            assert reader.stderr is not None
            assert reader.stderr.readline() == f"Following {nginx.log}.\n"
            address = f"http://127.0.0.1:{nginx.port}/video"
            answer = httpx.get(f"{address}/film.mp4?token=token-of-ann")
            assert answer.content == CLIP
            assert answer.headers["content-type"] == "video/mp4"
            assert "x-streamgauge-bill" not in answer.headers
            assert httpx.get(f"{address}/film.mp4?token=stolen").status_code == 401
            assert httpx.get(f"{address}/other.mp4?token=token-of-ann").status_code == 404
            (event,) = received.wait_for_events(1)
            reader.send_signal(signal.SIGTERM)
            assert reader.stderr.read() == "Recorded 1 responses, 100,000 B (100.00 KB).\n"
            assert reader.wait(10) == 0
    example.kill()
    assert (event.customer_id, event.bytes) == ("customer_ann", len(CLIP))
    assert event.metadata["title"] == "film"
    assert (tmp_path / "state" / "nginx").is_dir()


def test_the_log_format_is_printed_as_nginx_takes_it() -> None:
    command = [STREAMGAUGE, "nginx", "log-format"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == LOG_FORMAT
