"""Events per second from HTTP to disk to rollup, as a ratio to decoding the same bodies alone.

A real server process, real sockets, real syncs, one meter; the clients share its processors, so
CPU per event is the figure to read. Each round lasts until the last event is in the rollup.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from streamgauge.core.ids import new_writer_id
from streamgauge.server.catalog import Catalog
from streamgauge.server.ingest.decode import Scope, decode
from streamgauge.server.layout import CATALOG

CLIENTS = 4
METER = {
    "name": "bytes",
    "event_name": "stream",
    "measurement_unit": "byte",
    "aggregation": {"type": "sum", "key": "bytes"},
}


def body(writer: str, first: int, batch: int) -> bytes:
    """Return a batch of events as an SDK sends them, some 220 bytes each."""
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    events = [
        {
            "event_id": f"{writer}-{number}",
            "customer_id": f"cus_{number % 500:026d}",
            "event_name": "stream",
            "timestamp": at,
            "metadata": {"bytes": 1_000_000 + number, "quality": "1080p", "session": "s42"},
        }
        for number in range(first, first + batch)
    ]
    return json.dumps({"events": events}, separators=(",", ":")).encode()


class Client(threading.Thread):
    """Posts prepared batches over one connection, one after the other."""

    def __init__(self, port: int, token: str, bodies: list[bytes], until: float) -> None:
        super().__init__()
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._bodies = bodies
        self._until = until
        self.sent = 0
        self.waits_s: list[float] = []

    def run(self) -> None:
        """Post until the time or the bodies are used up."""
        for prepared in self._bodies:
            started = time.perf_counter()
            if started > self._until:
                break
            self._connection.request("POST", "/events/ingest", prepared, self._headers)
            response = self._connection.getresponse()
            answer = response.read()
            if response.status != 200:
                raise RuntimeError(answer[:300])
            self.waits_s.append(time.perf_counter() - started)
            self.sent += 1
        self._connection.close()


def cpu_s(pid: int) -> float:
    """Return the processor time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def decoding_us(prepared: bytes, batch: int) -> float:
    """Return the processor time of decoding and checking one event, in microseconds."""
    scope, now = Scope("bus_1", "test_mode"), datetime.now(UTC)
    started, rounds = time.process_time(), 0
    while time.process_time() - started < 1.0:
        decode(prepared, scope, now)
        rounds += 1
    return (time.process_time() - started) / rounds / batch * 1e6


def measured(port: int, pid: int, token: str, batch: int, seconds: float) -> dict[str, float]:
    """Return the figures of one round."""
    per_client = int(seconds * 60_000 / batch) + 1
    writers = [new_writer_id() for _ in range(CLIENTS)]
    prepared = [[body(w, n * batch, batch) for n in range(per_client)] for w in writers]
    decode_us = decoding_us(prepared[0][0], batch)
    before, started = cpu_s(pid), time.perf_counter()
    clients = [Client(port, token, bodies, started + seconds) for bodies in prepared]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    acknowledged_s = time.perf_counter() - started
    events = sum(client.sent for client in clients) * batch
    # Listing waits until everything accepted is in the store and in the rollup.
    reader = http.client.HTTPConnection("127.0.0.1", port)
    reader.request("GET", "/events?page_size=1", headers={"authorization": f"Bearer {token}"})
    status = reader.getresponse().status
    if status != 200:
        raise RuntimeError(f"the store did not catch up: {status}")
    reader.close()
    whole_s = time.perf_counter() - started
    waits = sorted(itertools.chain.from_iterable(client.waits_s for client in clients))
    server_us = (cpu_s(pid) - before) / events * 1e6
    return {
        "batch": batch,
        "events": events,
        "acknowledged/s": events / acknowledged_s,
        "in rollup/s": events / whole_s,
        "answer p50 ms": waits[len(waits) // 2] * 1e3,
        "answer p99 ms": waits[len(waits) * 99 // 100] * 1e3,
        "decode us/event": decode_us,
        "server us/event": server_us,
        "ratio": server_us / decode_us,
    }


def shown(value: float) -> str:
    """Return a figure as a column: large ones whole, small ones with one place."""
    return f"{value:>15,.0f}" if value >= 100 else f"{value:>15,.1f}"


def main() -> None:
    """Run one server and print one line per batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--batches", type=int, nargs="+", default=[1000, 100])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as parent:
        data_dir = Path(parent) / "data"
        command = [sys.executable, "-m", "streamgauge.server", "--port", "0", "--data-dir"]
        server = subprocess.Popen(
            [*command, str(data_dir)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().rpartition(":")[2])
            catalog = Catalog(data_dir / CATALOG)
            token = catalog.keys.create(mode="test_mode", name="benchmark").token
            catalog.close()
            connection = http.client.HTTPConnection("127.0.0.1", port)
            headers = {"authorization": f"Bearer {token}"}
            connection.request("POST", "/meters", json.dumps(METER), headers)
            connection.getresponse().read()
            connection.close()
            for place, batch in enumerate(options.batches):
                figures = measured(port, server.pid, token, batch, options.seconds)
                if not place:
                    print("  ".join(f"{name:>15}" for name in figures))
                print("  ".join(map(shown, figures.values())), flush=True)
        finally:
            server.terminate()
            server.wait(60)


if __name__ == "__main__":
    main()
