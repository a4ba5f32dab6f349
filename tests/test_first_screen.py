"""The README's first screen and the documents' programs, followed as a reader would."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NODE_PACKAGES = ROOT / "tests" / "compat" / "node"
BLOCK = re.compile(r"<!-- run: (\S+) -->\n```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SERVER_IN_TEXT = "http://127.0.0.1:8000"
APP_IN_TEXT = "http://127.0.0.1:9000"
FILM_BYTES = 12_345_678
PATIENCE_S = 60


def block(document: str, name: str) -> str:
    """Return the program that follows ``<!-- run: name -->``."""
    return dict(BLOCK.findall((ROOT / document).read_text("utf-8")))[name]


class Reader:
    """Somebody with an empty home directory and a terminal."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, script: str) -> str:
        """Return what a shell script prints, or show why it failed."""
        done = self._shell(script)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def ask(self, script: str) -> str:
        """Return all that a shell script prints, whether it fails or not."""
        done = self._shell(script)
        return done.stdout + done.stderr

    def _shell(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-euc", script],
            cwd=self.home,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )

    @contextlib.contextmanager
    def running(self, command: str, pattern: str) -> Iterator[str]:
        """Start a program, give what ``pattern`` finds in its output, and stop it with SIGTERM."""
        process = subprocess.Popen(
            ["sh", "-c", f"exec {command}"],
            cwd=self.home,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output = Output(process)
        try:
            yield output.wait_for(pattern)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(PATIENCE_S)
            finally:
                process.kill()
                output.thread.join()
        assert status in {0, -signal.SIGTERM}, output.text


class Output:
    """What a process prints, read as it comes so that its pipe never fills."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.text = ""
        self._process = process
        self._changed = threading.Condition()
        self._ended = False
        self.thread = threading.Thread(target=self._read, name="test-output")
        self.thread.start()

    def wait_for(self, pattern: str) -> str:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or re.search(pattern, self.text), PATIENCE_S)
            found = re.search(pattern, self.text)
        assert found is not None, f"no {pattern} in:\n{self.text}"
        return found[1]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.text += line
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._process.stdout.close()


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


@pytest.fixture
def served(reader: Reader) -> Iterator[Reader]:
    """Give a reader who has done everything up to the application."""
    # The ports in the text may be taken on this machine, so free ones stand in for them.
    command = f"{block('README.md', 'server').strip()} --port 0"
    with reader.running(command, rf"({SERVER_IN_TEXT.rpartition(':')[0]}:\d+)\n") as url:
        reader.environ["STREAMGAUGE_URL"] = url
        printed = reader.run(block("README.md", "setup") + '\necho "$DODO_PAYMENTS_API_KEY"')
        reader.environ["DODO_PAYMENTS_API_KEY"] = printed.split()[-1]
        yield reader


def write_program(reader: Reader, name: str, source: str) -> None:
    (reader.home / name).write_text(
        source.replace(SERVER_IN_TEXT, reader.environ["STREAMGAUGE_URL"])
    )


def consumed(reader: Reader) -> int:
    answer = json.loads(reader.run("streamgauge invoices preview customer_123 --output json"))
    (line,) = answer["items"][0]["lines"]
    assert isinstance(line["consumed_units"], int)
    return line["consumed_units"]


@pytest.mark.curl
def test_the_first_screen_leads_to_an_invoice_over_what_curl_received(served: Reader) -> None:
    (served.home / "media").mkdir()
    (served.home / "media" / "film.mp4").write_bytes(secrets.token_bytes(FILM_BYTES))
    write_program(served, "app.py", block("README.md", "app.py"))
    start, fetch, _pause, look = block("README.md", "look").strip().splitlines()
    command = start.removesuffix(" &").replace(APP_IN_TEXT.rpartition(":")[2], "0")
    with served.running(command, r"running on (http://127\.0\.0\.1:\d+)") as url:
        received = served.run(
            f"{fetch.replace(APP_IN_TEXT, url)} --silent --write-out '%{{size_download}}'"
        )
        assert int(received) == FILM_BYTES
        deadline_s = time.monotonic() + PATIENCE_S
        while f"{FILM_BYTES:,}" not in (shown := served.ask(look)):
            assert time.monotonic() < deadline_s, shown
    assert consumed(served) == FILM_BYTES


def test_the_first_screen_has_under_twenty_lines() -> None:
    lines = "".join(block("README.md", name) for name in ("server", "setup", "app.py", "look"))
    assert len([line for line in lines.splitlines() if line]) < 20


@pytest.mark.parametrize(
    ("document", "name", "count"),
    [
        ("docs/start.md", "start", 10_485_760 + len(b"one") + len(b"two")),
        ("docs/guides/from-the-blueprint.md", "blueprint", 10_485_760),
    ],
)
def test_a_program_of_the_documents_bills_what_it_counts(
    served: Reader, document: str, name: str, count: int
) -> None:
    source = block(document, name).replace('"sg_test_..."', "None")
    if SERVER_IN_TEXT not in source:
        # The text bills through Dodo; a test never does.
        source = source.replace("Ingestion(", f'Ingestion(base_url="{SERVER_IN_TEXT}", ')
    write_program(served, "program.py", source)
    served.run("python program.py")
    assert consumed(served) == count


def test_the_kit_is_used_as_the_documents_show(reader: Reader) -> None:
    (reader.home / "test_billing.py").write_text(block("docs/start.md", "test_billing.py"))
    assert "1 passed" in reader.run("python -m pytest -p no:cacheprovider test_billing.py")


@pytest.mark.node
def test_the_npm_blueprint_bills_here_with_the_module_of_the_guide(served: Reader) -> None:
    write_program(
        served, "redirect.mjs", block("docs/guides/from-the-blueprint.md", "redirect.mjs")
    )
    (served.home / "node_modules").symlink_to(NODE_PACKAGES / "node_modules")
    (served.home / "app.mjs").write_text(
        "import { Ingestion, trackStreamBytes } from '@dodopayments/ingestion-blueprints';\n"
        "const ingestion = new Ingestion({ apiKey: process.env.DODO_PAYMENTS_API_KEY,\n"
        "  environment: 'test_mode', eventName: 'stream_consumption' });\n"
        "await trackStreamBytes(ingestion, { customerId: 'customer_123', bytes: 4321 });\n"
    )
    served.environ["METERING_BASE_URL"] = served.environ["STREAMGAUGE_URL"]
    served.run("node --import ./redirect.mjs app.mjs")
    assert consumed(served) == 4321
