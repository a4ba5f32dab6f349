"""What open sessions hold and what the end of their window costs: memory, CPU, longest slice.

Sessions of their own customer each, with metadata of 256 bytes, all counted in one window. Then
the window ends: every session must go on in the next one. The longest slice is the longest time
that another thread, which only wants to run, was kept from it.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

from streamgauge import Ingestion, StreamSession
from streamgauge.testing import ManualClock, MemorySink, assert_conserved


class Bystander:
    """A thread that wants to run all the time, and notes how long it was kept from it."""

    def __init__(self) -> None:
        self.longest_ns = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._thread.join()

    def _run(self) -> None:
        before_ns = time.perf_counter_ns()
        while not self._stopped:
            time.sleep(0.0002)
            now_ns = time.perf_counter_ns()
            self.longest_ns = max(self.longest_ns, now_ns - before_ns)
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


def main() -> None:
    """Print the figures for one group each, and for a hundred sessions to a group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100_000)
    options = parser.parse_args()
    for groups in (options.sessions, options.sessions // 100):
        with tempfile.TemporaryDirectory() as parent:
            show(Path(parent) / "spool", options.sessions, groups)


def show(spool_dir: Path, count: int, groups: int) -> None:
    """Print one line of figures."""
    clock = ManualClock()
    ingestion = Ingestion(
        environment="test_mode",
        event_name="stream_consumption",
        spool_dir=spool_dir,
        sink=MemorySink(),
        sync_interval_s=3_600,
        clock=clock,
    )
    engine = ingestion._running().engine  # noqa: SLF001 - its steps are taken by hand here.
    gc.collect()
    before_bytes = memory_bytes()
    opened = sessions_of(ingestion, count, groups)
    held = (memory_bytes() - before_bytes) / count
    clock.advance(60)
    sys.setswitchinterval(0.005)
    with Bystander() as bystander:
        started_ns = time.thread_time_ns()
        engine.coalescer._close_windows()  # noqa: SLF001 - the step that is measured.
        closed_ns = time.thread_time_ns()
        closing_longest_ms = bystander.longest_ns / 1e6
        engine.tick()
        ticked_ns = time.thread_time_ns()
        for session in opened:
            session.add(65_536)
        reopened_ns = time.thread_time_ns()
    print(f"{count:,} sessions of {groups:,} customers: {held:,.0f} bytes of memory each")
    print(f"  windows closed:     {(closed_ns - started_ns) / 1e6:8.1f} ms of CPU")
    print(f"  longest slice:      {closing_longest_ms:8.1f} ms")
    print(f"  events written:     {(ticked_ns - closed_ns) / 1e6:8.1f} ms of CPU")
    print(f"  all opened again:   {(reopened_ns - ticked_ns) / 1e6:8.1f} ms of CPU")
    print(f"  longest slice, all: {bystander.longest_ns / 1e6:8.1f} ms")
    for session in opened:
        session.close()
    ingestion.close(60)
    assert_conserved(ingestion.stats())


if __name__ == "__main__":
    main()
