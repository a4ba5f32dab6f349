from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from streamgauge.server.catalog import Catalog
from streamgauge.server.layout import CATALOG

STOP_S = 30


class Server(NamedTuple):
    url: str
    token: str
    data_dir: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("server")
    data_dir, log = path / "data", path / "log"
    command = [sys.executable, "-m", "streamgauge.server", "--data-dir", str(data_dir)]
    # A line for every request: a pipe that nobody reads would fill and stop the server.
    with (
        log.open("w") as words,
        subprocess.Popen(
            [*command, "--port", "0"], stdout=subprocess.PIPE, stderr=words, text=True
        ) as process,
    ):
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            pytest.fail(log.read_text())
        # As `streamgauge keys create` does it: on the files, while the server runs.
        catalog = Catalog(data_dir / CATALOG)
        token = catalog.keys.create(mode="test_mode", name="compat").token
        catalog.close()
        try:
            yield Server(url, token, data_dir)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=STOP_S)
    assert process.returncode == 0, log.read_text()
