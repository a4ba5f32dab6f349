"""What many write by hand: a table with a unique event id, ``ON CONFLICT DO NOTHING``, a ``SUM``.

The same bodies as the server gets, straight to the database: nobody checks keys or events, and
nothing is rolled up. Commits are durable, with Debian's defaults but for ``shared_buffers`` and
``max_wal_size``, which are raised to what such a machine would have.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from pathlib import Path

import psycopg

from benchmarks.ingest_load import bodies, filled
from tests.postgresql import Cluster, missing

_SETTINGS = ("listen_addresses=", "shared_buffers=1GB", "max_wal_size=4GB")
_TABLE = (
    (
        "CREATE TABLE events (event_id text PRIMARY KEY, customer_id text, event_name text, "
        "at timestamptz, bytes numeric, metadata jsonb)"
    ),
    "CREATE INDEX ON events (customer_id, event_name, at) INCLUDE (bytes)",
)
_INSERT = """
    INSERT INTO events SELECT event ->> 'event_id', event ->> 'customer_id', event ->> 'event_name',
        (event ->> 'timestamp')::timestamptz, (event -> 'metadata' ->> 'bytes')::numeric,
        event -> 'metadata'
    FROM jsonb_array_elements(%s::jsonb -> 'events') AS event ON CONFLICT (event_id) DO NOTHING
"""


class Writer(threading.Thread):
    """Inserts batches over one connection, one transaction each."""

    def __init__(self, url: str, place: int, batch: int) -> None:
        super().__init__(daemon=True)
        self.connection = psycopg.connect(url, autocommit=True)
        self._batch = batch
        self._forms = bodies(random.Random(place), batch)
        self.until = 0.0
        self.waits_s: list[float] = []

    def run(self) -> None:
        """Insert until the time is over."""
        while True:
            first = len(self.waits_s) * self._batch + 1
            body = filled(self._forms[len(self.waits_s) % len(self._forms)], first, self._batch)
            started = time.perf_counter()
            if started > self.until:
                return
            self.connection.execute(_INSERT, (body.decode(),))
            self.waits_s.append(time.perf_counter() - started)


def cpu_s() -> float:
    """Return the processor time of every PostgreSQL process, in seconds."""
    ticks = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = status.read_text().rpartition(")")
            if name.partition("(")[2] == "postgres":
                ticks += sum(map(int, rest.split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def load(batch: int, clients: int, seconds: float) -> dict[str, float]:
    """Return the figures of one round.

    Raises:
        RuntimeError: There is no PostgreSQL.
    """
    if reason := missing():
        raise RuntimeError(reason)
    cluster = Cluster(_SETTINGS)
    try:
        cluster.start()
        cluster.execute(*_TABLE)
        writers = [Writer(cluster.url(), place, batch) for place in range(clients)]
        before, used = cpu_s(), time.process_time()
        started = time.perf_counter()
        for writer in writers:
            writer.until = started + seconds
            writer.start()
        for writer in writers:
            writer.join()
        took_s, server_s = time.perf_counter() - started, cpu_s() - before
        client_s = time.process_time() - used
        for writer in writers:
            writer.connection.close()
        ((stored,),) = cluster.execute("SELECT count(*) FROM events")
        cluster.stop()
    finally:
        cluster.remove()
    waits = sorted(wait for writer in writers for wait in writer.waits_s)
    events = len(waits) * batch
    if stored != events:
        raise RuntimeError(f"{stored} of {events} events are stored")
    return {
        "acknowledged/s": events / took_s,
        "in rollups/s": events / took_s,
        "behind s": 0.0,
        "lag p99 s": 0.0,
        "p50 ms": waits[len(waits) // 2] * 1e3,
        "p99 ms": waits[len(waits) * 99 // 100] * 1e3,
        "max ms": waits[-1] * 1e3,
        "server us": server_s / events * 1e6,
        "client us": client_s / events * 1e6,
    }
