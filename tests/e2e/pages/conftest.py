from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright


class Server:
    """A real server process on a fresh data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "streamgauge.server",
                "--data-dir",
                str(data_dir),
                "--port",
                "0",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), "the server did not start"

    def link(self) -> str:
        connection = http.client.HTTPConnection("operator")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.data_dir / "admin.sock"))
        connection.request("POST", "/app/links")
        path = json.load(connection.getresponse())["path"]
        connection.close()
        return f"{self.url}{path}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("pages") / "billing")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser(chromium_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ]
    # Chromium writes crash reports and settings at home, and a test run touches nothing there.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    home = {**kept, "HOME": str(tmp_path_factory.mktemp("home"))}
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium_path, args=arguments, env=home
        )
        yield started
        started.close()
