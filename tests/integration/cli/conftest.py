from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamgauge.cli.client import Client
from streamgauge.cli.connection import choose

MAIN = "import sys; from streamgauge.cli import main; sys.exit(main())"
STOP_S = 30


class Server:
    """``streamgauge serve`` in a process of its own.

    Attributes:
        data_dir: Its directory.
        url: Its address.
        log: What it says on stderr.
    """

    def __init__(self, data_dir: Path, log: Path, *options: str) -> None:
        self.data_dir = data_dir
        self.log = log
        command = [sys.executable, "-c", MAIN, "serve", "--data-dir", str(data_dir), "--port", "0"]
        command += options
        with log.open("ab") as words:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=words, text=True
            )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http"), log.read_text()
        self.local_url = self.url.replace("0.0.0.0", "127.0.0.1")

    def stop(self) -> int:
        assert self.process.stdout is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(STOP_S)
        self.process.stdout.close()
        return self.process.returncode


@pytest.fixture(autouse=True)
def _usual_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrap tables where the tests expect it, whatever terminal the run was started in."""
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture(scope="session")
def server_type() -> type[Server]:
    return Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("cli-server")
    running = Server(path / "data", path / "log")
    yield running
    assert running.stop() == 0, (path / "log").read_text()


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "STREAMGAUGE_URL",
        "STREAMGAUGE_API_KEY",
        "STREAMGAUGE_CATALOG",
        "DODO_PAYMENTS_API_KEY",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def operator(server: Server) -> Iterator[Client]:
    with choose(None, server.data_dir, "test_mode") as client:
        yield client
