"""The program of ``tests.wire.serving`` in a namespace, and what it says it has sent."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, NamedTuple, Self

from tests.wire.bed import Namespace

ROOT: Final = Path(__file__).parents[2]
LAYERS: Final = ("payload", "http", "tls", "wire", "wire_once")
_START_S: Final = 30.0
_RECORD_S: Final = 30.0
_STOP_S: Final = 10.0


class Reading(NamedTuple):
    """Bytes at one layer, how they were found out, and whether that is the last word."""

    bytes: int
    how: str
    final: bool


class Measured(NamedTuple):
    """What the server's side says of one response."""

    customer_id: str
    connection: int
    is_complete: bool
    layers: dict[str, Reading]


class Server:
    """A running server.

    Args:
        namespace: Where it runs.
        certificate: A file with key and certificate.
        options: Of ``tests.wire.serving``.
    """

    def __init__(self, namespace: Namespace, certificate: Path, *options: str) -> None:
        program = (sys.executable, "-m", "tests.wire.serving", "--certificate", str(certificate))
        self._process = namespace.start(
            *program, *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        assert self._process.stdout is not None
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._reader.start()
        try:
            ready = self._lines.get(timeout=_START_S)
        except queue.Empty:
            ready = {}
        if "ready" not in ready:
            self.close()
            raise OSError(f"the server did not start: {options}")

    def take(self, count: int, *, port: int) -> list[Measured]:
        """Return ``count`` records of the client's ``port`` as soon as there are so many."""
        give_up_at = time.monotonic() + _RECORD_S
        taken: list[Measured] = []
        while len(taken) < count:
            try:
                line = self._lines.get(timeout=max(0.0, give_up_at - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"{len(taken)} of {count} records came: {taken}") from None
            if "ended" in line:
                raise OSError(f"the server ended; {len(taken)} of {count} records came: {taken}")
            customer_id, _, client_port = line["customer_id"].rpartition("@")
            if int(client_port) != port:
                continue  # Of a connection that an earlier failure left open.
            readings = {name: line[name] for name in LAYERS if line[name] is not None}
            layers = {name: Reading(*reading) for name, reading in readings.items()}
            taken.append(Measured(customer_id, line["connection"], line["is_complete"], layers))
        return taken

    def close(self) -> None:
        """End it, and fail if it did not end well."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            status = self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        if status:
            raise OSError(f"the server ended with status {status}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, output: IO[bytes]) -> None:
        for line in output:
            self._lines.put(json.loads(line))
        self._lines.put({"ended": True})
