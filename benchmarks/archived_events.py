"""What archiving costs and saves: beside inserts, per question, per event on disk.

The events of ``usage_queries`` over one month are archived while 20,000 more are inserted every
second. The same questions are asked before and after; those of rollups read no event.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.rollup_cost import AT, METHODS, meter
from benchmarks.usage_queries import (
    CUSTOMERS,
    INSERT_ROWS,
    MONTH,
    Inserting,
    generate,
    sizes,
    waits_ms,
)
from streamgauge.server.archived import month_start
from streamgauge.server.metering.forgetting import Forget
from streamgauge.server.metering.meter import Meter
from streamgauge.server.store import EventStore
from streamgauge.server.store.segments import log_position

SCOPE = {"business_id": "bus_1", "mode": "test_mode"}


class Timed(Inserting):
    """Keeps how long each insert took, in seconds."""

    def __init__(self, store: EventStore, first_segment: int) -> None:
        super().__init__(store, first_segment)
        self.took_s: list[float] = []
        whole = store.insert

        def insert(segment: int, ndjson: bytes, rows: int) -> None:
            started = time.perf_counter()
            whole(segment, ndjson, rows)
            self.took_s.append(time.perf_counter() - started)

        store.insert = insert  # type: ignore[method-assign,assignment]

    def figures(self) -> str:
        """Return the middle and the longest, and begin anew."""
        found, self.took_s = sorted(self.took_s), []
        return f"{found[len(found) // 2] * 1e3:.0f} ms in the middle, {found[-1] * 1e3:.0f} at most"


def questions(store: EventStore, whole: Meter) -> dict[str, Callable[[int], object]]:
    """Return what is asked, by what it is called."""

    def customer(turn: int) -> str:
        return f"cus_{(turn * 7919) % CUSTOMERS:026d}"

    return {
        "customer's month, rollups": lambda turn: store.usage(
            whole, customer_id=customer(turn), **MONTH
        ),
        "customer's month, events": lambda turn: store.usage(
            whole, customer_id=customer(turn), up_to=2**63, **MONTH
        ),
        "customer's newest events": lambda turn: store.events(customer_id=customer(turn), **SCOPE),
        "an event by its id": lambda turn: store.event(
            f"0123456789abcdef0123456789abcdef-{turn * 7919 + 1}", **SCOPE
        ),
    }


def ask(store: EventStore, when: str, seconds: float) -> None:
    """Print how long each question took."""
    print(f"  {when}: least, p50, p95 ms")
    for name, question in questions(store, meter(0, filtered=False)).items():
        least, p50, p95, _ = waits_ms(question, seconds)
        print(f"    {name:<26} {least:8.1f} {p50:8.1f} {p95:8.1f}", flush=True)


def archive(store: EventStore, before: datetime, up_to: int) -> None:
    """Archive everything, and print what it took."""
    started, rows = time.perf_counter(), 0
    while archived := store.archiver.step(before, up_to):
        rows += archived
    took_s, state = time.perf_counter() - started, store.archived
    print(
        f"  archived {rows:,} in {took_s:.0f} s, {len(state.files)} files, "
        f"{state.size_bytes / state.rows:.1f} bytes an event"
    )


def main() -> None:
    """Make events, ask, archive, ask, forget, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=4.0, help="per question")
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        path = Path(directory)
        store = EventStore(f"chdb://{path / 'engine'}", archive=path / "archive")
        METHODS["1 meter"][0](store)
        generate(store, options.events, "spool")
        up_to = log_position(-(-options.events // INSERT_ROWS) + 1, 0)
        last = AT + timedelta(days=32)
        store._engine.define("OPTIMIZE TABLE streamgauge.events FINAL")  # noqa: SLF001
        _, size = sizes(store)["events"]
        print(
            f"{options.events:,} events of {CUSTOMERS:,} customers, "
            f"{size / options.events:.1f} bytes each in the engine"
        )
        ask(store, "in the engine", options.seconds)
        inserting = Timed(store, 1 << 20)
        inserting.start()
        time.sleep(10)
        print(f"  20,000 rows inserted every second: {inserting.figures()}")
        archive(store, month_start(last.year, last.month + 1), up_to)
        print(f"  inserts meanwhile: {inserting.figures()}", flush=True)
        inserting.stop()
        ask(store, "archived", options.seconds)
        rule = Forget(**SCOPE, customer_id=f"cus_{7:026d}", kept={"stream": ("bytes",)})
        started = time.perf_counter()
        while not store.forget(rule, up_to):
            time.sleep(0.05)
        print(f"  a customer forgotten in {time.perf_counter() - started:.1f} s")
        store.close()


if __name__ == "__main__":
    main()
