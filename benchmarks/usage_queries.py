"""How fast usage is answered, and what events and rollups take on disk, by number of events.

Events of 20,000 customers over one month, made in the engine, 250,000 an insert, through the same
views as ingested ones. Then questions, beside ``SELECT 1``, while more events are inserted.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from benchmarks.rollup_cost import AT, METHODS, QUALITIES, meter, rows
from streamgauge.server.ingest.rows import numbered
from streamgauge.server.metering.meter import Meter
from streamgauge.server.store import Bucket, EventStore
from streamgauge.server.store.schema import INSERT_SETTINGS, SPANS

CUSTOMERS = 20_000
DAYS = 31
INSERT_ROWS = 250_000
IDS = {
    "spool": "concat('0123456789abcdef0123456789abcdef-', toString(place))",
    "random": "toString(generateUUIDv4(place))",
}
MONTH = {"business_id": "bus_1", "mode": "test_mode", "start": AT, "end": AT + timedelta(days=DAYS)}
WEEK = MONTH | {"end": AT + timedelta(days=7)}


def generate(store: EventStore, count: int, ids: str) -> None:
    """Insert ``count`` events in the order of time; few customers have many of them."""
    settings = dict(INSERT_SETTINGS) | {"max_block_size": INSERT_ROWS, "max_threads": 1}
    shown = ", ".join(
        f"{name} = {json.dumps(to).replace(chr(34), chr(39))}" for name, to in settings.items()
    )
    step_us = DAYS * 86_400_000_000 // count
    for segment in range(1, -(-count // INSERT_ROWS) + 1):
        first = (segment - 1) * INSERT_ROWS
        last = min(first + INSERT_ROWS, count)
        store._engine.define(  # noqa: SLF001 - no door takes made-up events this fast
            "INSERT INTO streamgauge.events (business_id, mode, event_name, customer_id, "
            f"timestamp, event_id, metadata, received_at, log_position) SETTINGS {shown}, "
            f"insert_deduplication_token = 'made:{segment}' SELECT 'bus_1', 'test_mode', 'stream', "
            f"concat('cus_', leftPad(toString(toUInt32(pow(rand(1) / 4294967296, 1.5) "
            f"* {CUSTOMERS})), 26, '0')), "
            f"fromUnixTimestamp64Micro({int(AT.timestamp())} * 1000000 + place * {step_us} "
            f"+ rand(2) % 60000000) AS at, {IDS[ids]}, "
            "map('bytes', toString(rand(3) % 1000000000), "
            f"'quality', concat('\"', {list(QUALITIES)}[1 + rand(4) % 5], '\"'), "
            "'region', concat('\"r', toString(rand(5) % 10), '\"')), "
            f"at + INTERVAL 5 SECOND, bitShiftLeft(toUInt64({segment}), 32) + place - {first} "
            f"FROM (SELECT number AS place FROM numbers({first}, {last - first}))"
        )


class Inserting(threading.Thread):
    """Inserts 20,000 events every second, until it is stopped."""

    def __init__(self, store: EventStore, first_segment: int) -> None:
        super().__init__(daemon=True)
        self._store = store
        self._segment = first_segment
        self._stopping = threading.Event()
        self._body = rows(random.Random(2), 20_000, 0, 1)

    def run(self) -> None:
        """Insert until ``stop``."""
        while not self._stopping.wait(0):
            started = time.perf_counter()
            lines = numbered([self._body], self._segment << 32)
            self._store.insert(self._segment, b"\n".join(lines), len(lines))
            self._segment += 1
            self._stopping.wait(max(0.0, 1.0 - (time.perf_counter() - started)))

    def stop(self) -> None:
        """Stop after the running insert."""
        self._stopping.set()
        self.join()


def waits_ms(question: Callable[[int], object], seconds: float) -> tuple[float, float, float, int]:
    """Return the least, p50 and p95 of the waits, and how many there were."""
    found, until = list[float](), time.perf_counter() + seconds
    while time.perf_counter() < until or len(found) < 5:
        started = time.perf_counter()
        question(len(found))
        found.append((time.perf_counter() - started) * 1e3)
    found.sort()
    return found[0], found[len(found) // 2], found[len(found) * 95 // 100], len(found)


def questions(store: EventStore, whole: Meter, hd: Meter) -> dict[str, Callable[[int], object]]:
    """Return what is asked, by what it is called."""

    def customer(turn: int) -> str:
        return f"cus_{(turn * 7919) % CUSTOMERS:026d}"

    return {
        "SELECT 1": lambda _: store._engine.rows("SELECT 1"),  # noqa: SLF001
        "customer's month by hour": lambda turn: store.usage(
            whole, customer_id=customer(turn), bucket=Bucket.HOUR, **MONTH
        ),
        "the same, filtered": lambda turn: store.usage(
            hd, customer_id=customer(turn), bucket=Bucket.HOUR, **MONTH
        ),
        "the same, from events": lambda turn: store.usage(
            whole, customer_id=customer(turn), bucket=Bucket.HOUR, up_to=2**63, **MONTH
        ),
        "customer's month": lambda turn: store.usage(whole, customer_id=customer(turn), **MONTH),
        "top 100 of the month": lambda _: store.usage(whole, top=100, **MONTH),
        "top 100, filtered": lambda _: store.usage(hd, top=100, **MONTH),
        "top 100 of a week": lambda _: store.usage(whole, top=100, **WEEK),
        "month by day, all": lambda _: store.usage(
            whole, by_customer=False, bucket=Bucket.DAY, **MONTH
        ),
    }


def sizes(store: EventStore) -> dict[str, tuple[int, int]]:
    """Return rows and bytes on disk by table."""
    found = store._engine.rows(  # noqa: SLF001
        "SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts "
        "WHERE active AND database = 'streamgauge' GROUP BY table"
    )
    return {table: (count, size) for table, count, size in found}


def main() -> None:
    """Make events, merge, ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=4.0, help="per question")
    parser.add_argument("--ids", choices=IDS, default="spool")
    parser.add_argument("--meters", choices=("1 meter", "50 meters"), default="50 meters")
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        store = EventStore(f"chdb://{Path(directory) / 'engine'}")
        METHODS[options.meters][0](store)
        whole = meter(0, filtered=False)
        hd = meter(3) if options.meters == "50 meters" else whole
        started, cpu = time.perf_counter(), time.process_time()
        generate(store, options.events, options.ids)
        took_s, used_s = time.perf_counter() - started, time.process_time() - cpu
        print(
            f"{options.events:,} events, {options.meters}, {options.ids} ids: made in "
            f"{took_s:.0f} s, {used_s / options.events * 1e6:.1f} us of processor each",
            flush=True,
        )
        for table in ("events", *SPANS):
            store._engine.define(f"OPTIMIZE TABLE streamgauge.{table} FINAL")  # noqa: SLF001
        by_table = sizes(store)
        for table, (count, size) in sorted(by_table.items()):
            print(f"  {table:>8}: {count:>13,} rows, {size / options.events:6.1f} bytes an event")
        whole_size = sum(size for _, size in by_table.values())
        print(f"  together: {whole_size / options.events:26.1f} bytes an event", flush=True)
        inserting = Inserting(store, 1 << 20)
        for quiet in (True, False):
            when = "alone" if quiet else "while 20,000 events a second are inserted"
            print(f"  {when}: least, p50, p95 ms")
            if not quiet:
                inserting.start()
            for name, question in questions(store, whole, hd).items():
                least, p50, p95, asked = waits_ms(question, options.seconds)
                figures = f"{least:8.1f} {p50:8.1f} {p95:8.1f}"
                print(f"    {name:<26} {figures}   (asked {asked})", flush=True)
        inserting.stop()
        store.close()


if __name__ == "__main__":
    main()
