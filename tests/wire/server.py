"""The program of ``tests.wire.serving`` in a namespace, and what it says it has sent."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
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
    """What the server's side says of one response.

    Attributes:
        customer_id: Who pays.
        connection: The kernel's name of the connection.
        is_complete: Whether everything arrived.
        layers: What was measured.
    """

    customer_id: str | None
    connection: int
    is_complete: bool
    layers: dict[str, Reading]


class Server:
    """A running server.

    Args:
        namespace: Where it runs.
        certificate: A file with key and certificate.
        options: Of ``tests.wire.serving``.

    Attributes:
        billed: Bytes of delivered events by customer, known when it has ended.
    """

    def __init__(self, namespace: Namespace, certificate: Path, *options: str) -> None:
        program = (sys.executable, "-m", "tests.wire.serving", "--certificate", str(certificate))
        self._process = namespace.start(
            *program, *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        assert self._process.stdout is not None
        self.billed: Counter[str] = Counter()
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

    def take(self, count: int, *, port: int) -> tuple[list[Measured], int]:
        """Return ``count`` records of the client's ``port`` as soon as there are so many.

        Returns:
            The records, and what a counter in the application says of all of them.
        """
        give_up_at = time.monotonic() + _RECORD_S
        lines: list[dict[str, Any]] = []
        naive: list[int] = []
        while len(found := _of_port(lines, port)) < count or len(naive) < count:
            try:
                line = self._lines.get(timeout=max(0.0, give_up_at - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"{len(found)} of {count} records came: {lines}") from None
            if "ended" in line:
                raise OSError(f"the server ended; {len(found)} of {count} records came: {lines}")
            if "naive" not in line:
                lines.append(line)
            elif line["customer_id"].endswith(f"@{port}"):
                naive.append(line["naive"])
        return [_measured(line) for line in found], sum(naive)

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
        self.billed = self._billed()
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

    def _billed(self) -> Counter[str]:
        billed: Counter[str] = Counter()
        while "ended" not in (line := self._lines.get()):
            for customer_id, size in line.get("billed", {}).items():
                billed[customer_id.rpartition("@")[0]] += size
        return billed


def _of_port(lines: list[dict[str, Any]], port: int) -> list[dict[str, Any]]:
    """Return the lines of the client's port; others are what an earlier failure left."""
    named = [line for line in lines if (line["customer_id"] or "").endswith(f"@{port}")]
    connections = {line["connection"] for line in named}
    return [line for line in lines if line["connection"] in connections]


def _measured(line: dict[str, Any]) -> Measured:
    customer_id = line["customer_id"] and line["customer_id"].rpartition("@")[0]
    readings = {name: line[name] for name in LAYERS if line[name] is not None}
    layers = {name: Reading(*reading) for name, reading in readings.items()}
    return Measured(customer_id, line["connection"], line["is_complete"], layers)
