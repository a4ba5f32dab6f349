from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from streamgauge.server.catalog import FILE_NAME, Catalog

STOP_S = 30


class Server(NamedTuple):
    url: str
    token: str
    data_dir: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    command = [sys.executable, "-m", "streamgauge.server", "--data-dir", str(data_dir)]
    with subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        if not url:
            pytest.fail(process.stderr.read())
        # As `streamgauge keys create` does it: on the files, while the server runs.
        catalog = Catalog(data_dir / FILE_NAME)
        token = catalog.keys.create(mode="test_mode", name="compat").token
        catalog.close()
        try:
            yield Server(url, token, data_dir)
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=STOP_S)
    assert process.returncode == 0, errors
