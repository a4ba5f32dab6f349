"""Events per second from HTTP to disk to minute rollups, durable and once, beside what limits them.

A real server process with a key and 50 meters, real sockets, real syncs; the clients share its
processors, so processor time per event is the figure to compare. Each round lasts until the last
event is in the rollups, so ``in rollups/s`` is what can go on, and ``behind s`` what was left
when the clients stopped; ``lag`` is the age of the oldest event that cannot be asked for yet, and
``--rate`` sends no more than that. In the same run: decoding alone, the
same server without its engine, and what many write by hand: a PostgreSQL table
(``benchmarks.postgresql_table``), whose rows can be summed when they are committed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import postgresql_table
from benchmarks.ingest_load import QUALITIES, bodies, filled
from streamgauge.server.catalog import Catalog
from streamgauge.server.ingest.decode import Scope, decode
from streamgauge.server.layout import CATALOG, ENGINE
from streamgauge.server.store import EventStore

METERS = 50
COLUMNS = (
    *("acknowledged/s", "in rollups/s", "behind s", "lag p99 s", "p50 ms", "p99 ms", "max ms"),
    *("server us", "client us"),
)
_SERVER = ["-m", "streamgauge.server"]
_WITHOUT_ENGINE = [
    "-c",
    (
        "from streamgauge.server.store import EventStore; from streamgauge.server import __main__; "
        "EventStore.insert = lambda *_, **__: None; __main__.main()"
    ),
]


class Server:
    """A running server with a key."""

    def __init__(self, data_dir: Path, program: list[str], meters: int) -> None:
        command = [sys.executable, *program, "--port", "0", "--data-dir", str(data_dir)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().rpartition(":")[2])
        catalog = Catalog(data_dir / CATALOG)
        self.token = catalog.keys.create(mode="test_mode", name="benchmark").token
        catalog.close()
        for place in range(meters):
            self.ask("POST", "/meters", meter(place))

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer of one request.

        Raises:
            RuntimeError: It is no success.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {text[:300]!r}")
        return json.loads(text)

    def caught_up(self) -> bool:
        """Wait until everything accepted is in the store; return whether it is."""
        try:
            self.ask("GET", "/events?page_size=1")
        except RuntimeError as error:
            if "in the store yet" not in str(error):
                raise
            return False
        return True

    def cpu_s(self) -> float:
        """Return the processor time of the server, in seconds."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Let it end."""
        self._process.terminate()
        self._process.wait(120)


@contextmanager
def running(data_dir: Path, program: list[str], meters: int) -> Iterator[Server]:
    """Yield a server that is stopped afterwards."""
    server = Server(data_dir, program, meters)
    try:
        yield server
    finally:
        server.stop()


class Lag(threading.Thread):
    """Watches how long the oldest event on disk waits for the store."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._stopping = threading.Event()
        self._seen_s: list[float] = []

    def run(self) -> None:
        """Look ten times a second, until ``p99_s``."""
        while not self._stopping.wait(0.1):
            self._seen_s.append(self._server.ask("GET", "/readyz")["lag_s"])

    def p99_s(self) -> float:
        """Stop and return the lag, in seconds, that one look in a hundred was above."""
        self._stopping.set()
        self.join()
        seen_s = sorted(self._seen_s)
        return seen_s[len(seen_s) * 99 // 100]


def meter(place: int) -> dict[str, object]:
    """Return the meter at ``place``: the first takes all bytes, others those of a place."""
    asked = {"quality": QUALITIES[place % 5], "region": f"r{place // 5}"}
    clauses = [{"key": key, "operator": "equals", "value": value} for key, value in asked.items()]
    return {
        "name": f"bytes {place}",
        "event_name": "stream",
        "measurement_unit": "byte",
        "aggregation": {"type": "sum", "key": "bytes"},
        "filter": {"conjunction": "and", "clauses": clauses} if place else None,
    }


def decoding_us(batch: int) -> float:
    """Return the processor time of decoding and checking one event, in microseconds."""
    scope, now = Scope("bus_1", "test_mode"), datetime.now(UTC)
    prepared = filled(bodies(random.Random(1), batch)[0], 1, batch)
    started, rounds = time.process_time(), 0
    while time.process_time() - started < 1.0:
        decode(prepared, scope, now)
        rounds += 1
    return (time.process_time() - started) / rounds / batch * 1e6


def load(server: Server, batch: int, options: argparse.Namespace) -> dict[str, float]:
    """Return the figures of one round; it ends when everything is in the rollups."""
    command = [sys.executable, "-m", "benchmarks.ingest_load", "--port", str(server.port)]
    command += ["--token", server.token, "--batch", str(batch)]
    command += ["--seconds", str(options.seconds), "--clients", str(options.clients)]
    command += ["--rate", str(options.rate)]
    lag = Lag(server)
    lag.start()
    before = server.cpu_s()
    seen: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    lag_p99_s, started = lag.p99_s(), time.perf_counter()
    while not server.caught_up():
        pass
    behind_s = time.perf_counter() - started
    return {
        "acknowledged/s": seen["events"] / seen["took_s"],
        "in rollups/s": seen["events"] / (seen["took_s"] + behind_s),
        "behind s": behind_s,
        "lag p99 s": lag_p99_s,
        "p50 ms": seen["p50_ms"],
        "p99 ms": seen["p99_ms"],
        "max ms": seen["max_ms"],
        "server us": (server.cpu_s() - before) / seen["events"] * 1e6,
        "client us": seen["client_us"],
    }


def inserts(data_dir: Path) -> str:
    """Say how large inserts were, and how many groups of a rollup each had."""
    store = EventStore(f"chdb://{data_dir / ENGINE}")
    ((count, rows, groups, events, rolled),) = store._engine.rows(  # noqa: SLF001 - no door counts inserts
        "SELECT count(), avg(n), avg(groups), sum(n), (SELECT max(n) FROM "
        "(SELECT sum(events) AS n FROM streamgauge.minutes GROUP BY rollup_id)) "
        "FROM (SELECT count() AS n, "
        "uniqExact(customer_id, toStartOfMinute(timestamp), metadata['quality'], "
        "metadata['region']) AS groups FROM streamgauge.events "
        "GROUP BY bitShiftRight(log_position, 32))"
    )
    store.close()
    return (
        f"{int(count):,} inserts, {float(rows):,.0f} events and {float(groups):,.0f} groups each; "
        f"{int(events):,} events stored, {int(rolled):,} rolled up"
    )


def shown(name: str, figures: dict[str, float], decode_us: float) -> None:
    """Print one line."""
    cells = [
        f"{value:>14,.0f}" if value >= 100 else f"{value:>14.1f}"
        for value in map(figures.__getitem__, COLUMNS)
    ]
    print(f"{name:<28}{''.join(cells)}{figures['server us'] / decode_us:>14.1f}", flush=True)


def main() -> None:
    """Print one line per way and batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rate", type=int, default=0, help="events a second, 0: all they can")
    parser.add_argument("--batches", type=int, nargs="+", default=[1000, 100])
    parser.add_argument(
        "--ways", nargs="+", default=["50 meters", "1 meter", "no engine", "postgresql"]
    )
    options = parser.parse_args()
    ways = {"50 meters": (_SERVER, METERS), "1 meter": (_SERVER, 1)}
    ways["no engine"] = (_WITHOUT_ENGINE, 1)
    for batch in options.batches:
        decode_us = decoding_us(batch)
        print(f"batches of {batch:,}, {options.clients} clients; decoding alone {decode_us:.2f} us")
        print(f"{'':<28}{''.join(f'{name:>14}' for name in COLUMNS)}{'of decoding':>14}")
        for way in options.ways:
            if way == "postgresql":
                shown(
                    way, postgresql_table.load(batch, options.clients, options.seconds), decode_us
                )
                continue
            program, meters = ways[way]
            with tempfile.TemporaryDirectory() as parent:
                data_dir = Path(parent) / "data"
                with running(data_dir, program, meters) as server:
                    figures = load(server, batch, options)
                shown(way, figures, decode_us)
                if program is _SERVER:
                    print(f"{'':<4}{inserts(data_dir)}", flush=True)


if __name__ == "__main__":
    main()
