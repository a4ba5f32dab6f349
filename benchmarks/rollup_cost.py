"""What meters cost an event on its way into the store, beside no meter and a view per meter.

Each round runs every method once, each in a process of its own, since one process has one engine.
Nearly every row is a group of its own: 20,000 customers, five qualities, ten regions, two minutes.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamgauge.core.metadata import canonical
from streamgauge.server.ingest.rows import numbered
from streamgauge.server.metering import compile as compiled
from streamgauge.server.metering.filters import Condition, Conjunction, Filter, Operator
from streamgauge.server.metering.meter import Aggregation, AggregationType, Meter
from streamgauge.server.store import EventStore

AT = datetime(2026, 3, 1, tzinfo=UTC)
QUALITIES = ("240p", "480p", "720p", "1080p", "2160p")


def meter(place: int, event_name: str = "stream", *, filtered: bool = True) -> Meter:
    """Return the meter at ``place``: bytes of one quality and region."""
    asked = {"quality": QUALITIES[place % 5], "region": f"r{place // 5}"}
    clauses = tuple(
        Condition(key=key, operator=Operator.EQUALS, value=canonical(text))
        for key, text in asked.items()
    )
    return Meter(
        id=f"mtr_{place}",
        business_id="bus_1",
        mode="test_mode",
        name=f"bytes {place}",
        event_name=event_name,
        measurement_unit="byte",
        aggregation=Aggregation(type=AggregationType.SUM, key="bytes"),
        filter=Filter(conjunction=Conjunction.AND, clauses=clauses) if filtered else None,
        created_at=AT,
        updated_at=AT,
    )


def views(store: EventStore) -> None:
    """Make a view for each of fifty meters, as this store once did."""
    define = store._engine.define  # noqa: SLF001 - the peer lives in the same engine
    define(
        "CREATE TABLE streamgauge.by_meter (meter String, customer_id String, minute DateTime, "
        "quantity Decimal(76, 12), events UInt64) ENGINE = SummingMergeTree "
        "ORDER BY (meter, customer_id, minute)"
    )
    for place in range(50):
        one = meter(place)
        quantity, events, _ = compiled.over_events(one)
        define(
            f"CREATE MATERIALIZED VIEW streamgauge.view_{place} TO streamgauge.by_meter AS "
            f"SELECT '{one.id}' AS meter, customer_id, toStartOfMinute(timestamp) AS minute, "
            f"{quantity} AS quantity, {events} AS events FROM streamgauge.events "
            f"WHERE {compiled.condition(one)} GROUP BY customer_id, minute"
        )


def planned(*meters: Meter) -> Callable[[EventStore], None]:
    """Return what rolls up ``meters``."""
    return lambda store: store.plan_rollups(meters, 0)


METHODS: dict[str, tuple[Callable[[EventStore], None], int]] = {
    "no meter": (planned(), 1),
    "1 meter": (planned(meter(0, filtered=False)), 1),
    "50 meters": (planned(*(meter(place) for place in range(50))), 1),
    "50 meters, 50 names": (planned(*(meter(n, f"stream{n}") for n in range(50))), 50),
    "a view per meter, 50": (views, 1),
}


def rows(draw: random.Random, count: int, first: int, names: int) -> bytes:
    """Return events as the log has them."""
    lines = ['{"business_id":"bus_1","mode":"test_mode","received_at":"2026-03-01T12:02:00Z"}']
    for place in range(count):
        event: dict[str, Any] = {
            "event_name": "stream" if names == 1 else f"stream{draw.randrange(names)}",
            "customer_id": f"cus_{draw.randrange(20_000):026d}",
            "timestamp": f"2026-03-01T12:{draw.randrange(2):02d}:{draw.randrange(60):02d}Z",
            "event_id": f"0123456789abcdef0123456789abcdef-{first + place}",
            "metadata": {
                "bytes": str(draw.randrange(10**9)),
                "quality": f'"{draw.choice(QUALITIES)}"',
                "region": f'"r{draw.randrange(10)}"',
                "session": f'"{draw.randrange(10**12)}"',
            },
        }
        lines.append(json.dumps(event, separators=(",", ":")))
    return "\n".join(lines).encode()


def cost_us(method: str, count: int, inserts: int) -> float:
    """Return the processor time per event, in microseconds: the median of inserts."""
    prepare, names = METHODS[method]
    draw = random.Random(1)
    with tempfile.TemporaryDirectory() as directory:
        store = EventStore(f"chdb://{Path(directory) / 'engine'}")
        prepare(store)
        found = []
        for segment in range(1, inserts + 2):
            lines = numbered([rows(draw, count, segment * count, names)], segment << 32)
            ndjson = b"\n".join(lines)
            started = time.process_time()
            store.insert(segment, ndjson, count)
            found.append((time.process_time() - started) / count * 1e6)
        store.close()
    found = sorted(found[1:])
    return found[len(found) // 2]


def main() -> None:
    """Print one line per method: microseconds per event, by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of an insert")
    parser.add_argument("--inserts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.method:
        print(cost_us(options.method, options.rows, options.inserts))
        return
    found: dict[str, list[float]] = {method: [] for method in METHODS}
    for turn in range(options.rounds):
        names = list(METHODS)
        for method in names[turn:] + names[:turn]:
            command = [sys.executable, "-m", "benchmarks.rollup_cost", "--method", method]
            command += ["--rows", str(options.rows), "--inserts", str(options.inserts)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            found[method].append(float(answer.stdout))
    one = sorted(found["1 meter"])[options.rounds // 2]
    print(f"{'us/event':>22}  {'by round':<24} of 1 meter")
    for method, costs in found.items():
        middle = sorted(costs)[options.rounds // 2]
        shown = " ".join(f"{cost:6.2f}" for cost in costs)
        print(f"{method:>22}  {shown:<24} {middle / one:6.2f}")


if __name__ == "__main__":
    main()
