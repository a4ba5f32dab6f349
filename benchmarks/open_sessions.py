"""What open sessions hold, and what the end of their window costs: memory, CPU, longest slice.

Each session has metadata of 256 bytes and has counted in one window; then the window ends. First
every session has a customer of its own, then a hundred share one.

Memory is resident memory, the mapped pages included, from before the sessions to after their first
chunks. A roll-over has three parts, and each is printed. The window is *closed*: no session counts
in it any more; this is what every session waits for. *Events are written*, one for each customer,
in a thread of ours, synced, and what they are made of is given up. *All go on*: each session's next
chunk takes a slot of the next window, in the application's own threads, when that chunk comes.

The longest slice is the longest that another thread was kept from its next step, in CPU time of
this process: whatever thread of it runs counts, with its garbage collections, and other processes
on the machine do not. The other thread opens a session and counts in it, over and over: it needs
the interpreter and a slot. Python itself lets a thread that computes run for 5 ms before another
has its turn. While events are written the delivery thread runs too, into a file.
"""

from __future__ import annotations

import argparse
import gc
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from streamgauge import Ingestion, StreamSession
from streamgauge.sinks.jsonl import JsonlSink
from streamgauge.testing import ManualClock, assert_conserved


class Bystander:
    """A thread that opens sessions all the time, and notes how long it was kept from it."""

    def __init__(self, ingestion: Ingestion) -> None:
        self._ingestion = ingestion
        self._longest_ns = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._thread.join()

    def longest_ms(self) -> float:
        """Return the longest slice since the last call."""
        longest_ns, self._longest_ns = self._longest_ns, 0
        return longest_ns / 1e6

    def _run(self) -> None:
        number = 0
        before_ns = time.process_time_ns()
        while not self._stopped:
            time.sleep(0.0002)
            number += 1
            with self._ingestion.session(customer_id=f"bystander_{number % 10}") as session:
                session.add(1)
            now_ns = time.process_time_ns()
            self._longest_ns = max(self._longest_ns, now_ns - before_ns)
            before_ns = now_ns


def memory_bytes() -> int:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def sessions_of(ingestion: Ingestion, count: int, groups: int) -> list[StreamSession]:
    """Return sessions that have counted once each."""
    opened = []
    for number in range(count):
        name = f"customer_{number % groups:06}"
        session = ingestion.session(customer_id=name, metadata={"title": f"{name:>244}"})
        session.add(65_536)
        opened.append(session)
    return opened


def add_to(opened: list[StreamSession]) -> None:
    """Count one chunk in each session."""
    for session in opened:
        session.add(65_536)


def main() -> None:
    """Print the figures for one group each, and for a hundred sessions to a group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--customers", type=int, help="only with so many")
    options = parser.parse_args()
    if options.customers:
        with tempfile.TemporaryDirectory() as parent:
            show(Path(parent) / "spool", options.sessions, options.customers)
        return
    for customers in (options.sessions, options.sessions // 100):
        # In a process of its own: memory that the other has freed would not be seen.
        command = [sys.executable, "-m", "benchmarks.open_sessions"]
        command += ["--sessions", str(options.sessions), "--customers", str(customers)]
        subprocess.run(command, check=True)


def show(spool_dir: Path, count: int, groups: int) -> None:
    """Print one line of figures."""
    clock = ManualClock()
    ingestion = Ingestion(
        environment="test_mode",
        event_name="stream_consumption",
        spool_dir=spool_dir,
        sink=JsonlSink(spool_dir.with_name("events.jsonl")),
        sync_interval_s=3_600,
        clock=clock,
    )
    engine = ingestion._running().engine  # noqa: SLF001 - its steps are taken by hand here.
    gc.collect()
    before_bytes = memory_bytes()
    opened = sessions_of(ingestion, count, groups)
    held = (memory_bytes() - before_bytes) / count
    clock.advance(60)
    steps: list[tuple[str, Callable[[], object]]] = [
        ("closed", engine.coalescer.end_window),
        ("events written", engine.tick),
        ("all went on", lambda: add_to(opened)),
    ]
    print(f"{count:,} sessions of {groups:,} customers: {held:,.0f} bytes of memory each")
    with Bystander(ingestion) as bystander:
        for name, step in steps:
            bystander.longest_ms()
            started_ns = time.thread_time_ns()
            step()
            cpu_ms = (time.thread_time_ns() - started_ns) / 1e6
            print(f"  {name:16}{cpu_ms:10.1f} ms of CPU, longest {bystander.longest_ms():8.1f} ms")
    for session in opened:
        session.close()
    ingestion.close(60)
    assert_conserved(ingestion.stats())


if __name__ == "__main__":
    main()
