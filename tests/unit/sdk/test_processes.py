from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamgauge import Ingestion
from streamgauge.core.disk import OsDirectory
from streamgauge.sinks.base import RetryLaterError
from streamgauge.testing import ManualClock, MemorySink

CHILD = """
import sys
from streamgauge import Ingestion
from streamgauge.core.disk import OsDirectory
from streamgauge.sinks.base import RetryLaterError

class Away:
    destination = "memory"
    is_private = True
    def deliver(self, batch):
        raise RetryLaterError("away")
    def close(self):
        pass

ingestion = Ingestion(environment="test_mode", event_name="stream", sink=Away(),
                      spool_dir=sys.argv[1], flush_interval_s=0.05, sync_interval_s=0.05)
session = ingestion.session(customer_id="ada")
n = 0
while True:
    n += 1
    session.add(1000)
    if n % 10 == 0:
        with ingestion.session(customer_id="ada", metadata={"short": True}) as short:
            short.add(1)
        ingestion.track(customer_id="ada", bytes=7)
    sys.stdout.write(f"{n * 1000 + n // 10 * 8}\\n")
    sys.stdout.flush()
"""
STEP_MAX = 1_008

# Forking with threads is what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.mark.parametrize("lines", [1, 50, 3_000])
def test_a_killed_process_is_billed_to_the_chunk(
    ingest: Callable[..., Ingestion], sink: MemorySink, spool_dir: Path, lines: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(spool_dir)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        reported = [int(child.stdout.readline()) for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().splitlines(keepends=True)
    reported += [int(line) for line in rest if line.endswith("\n")]
    ingestion = ingest()
    sink.wait_for_events(1)
    assert ingestion.close(20)
    assert reported[-1] <= sink.total_bytes() <= reported[-1] + STEP_MAX
    assert ingestion.stats().adopted.bytes == sink.total_bytes()
    assert sink.repeats == 0
    assert list(spool_dir.iterdir()) == []


def in_child(work: Callable[[], object]) -> object:
    """Return what ``work`` returns in a forked process."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writing, json.dumps(work()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    assert os.waitpid(pid, 0)[1] == 0
    return json.loads(text)


def test_a_forked_process_counts_from_zero_in_a_spool_of_its_own(
    ingest: Callable[..., Ingestion], sink: MemorySink, spool_dir: Path
) -> None:
    ingestion = ingest(clock=ManualClock())
    session = ingestion.session(customer_id="ada")
    session.add(100)
    ingestion.track(customer_id="ada", bytes=10)

    def work() -> list[object]:
        before = len(list(spool_dir.iterdir()))
        total = session.total
        session.add(5)
        ingestion.track(customer_id="ada", bytes=1)
        stats = ingestion.stats()
        spools = len(list(spool_dir.iterdir()))
        return [before, total, session.total, stats.counted_bytes, stats.holds, spools]

    # The child ends without closing, as a killed worker does.
    assert in_child(work) == [1, 0, 5, 6, True, 2]
    assert session.total == 100
    session.add(1)
    assert ingestion.stats().counted_bytes == 111
    engine = ingestion._engine()
    engine.dispatch._looked_at_ns = None
    assert ingestion.flush()
    sink.wait_for_events(4)
    assert ingestion.close()
    assert ingestion.stats().adopted.bytes == 6
    assert sink.bytes_by_customer() == {"ada": 117}


def test_a_forked_process_closes_for_itself_alone(
    ingest: Callable[..., Ingestion], sink: MemorySink
) -> None:
    sink.fail_next(*(RetryLaterError("away") for _ in range(1_000)))
    ingestion = ingest()
    ingestion.track(customer_id="ada", bytes=10)

    def work() -> bool:
        sink._failures.clear()
        ingestion.track(customer_id="ben", bytes=1)
        return ingestion.close() and sink.bytes_by_customer() == {"ben": 1}

    assert in_child(work) is True
    sink._failures.clear()
    assert ingestion.flush()
    assert sink.bytes_by_customer() == {"ada": 10}


def test_a_fork_does_not_keep_the_parents_spool_alive(spool_dir: Path, sink: MemorySink) -> None:
    ingestion = Ingestion(
        environment="test_mode", event_name="stream", sink=sink, spool_dir=spool_dir
    )
    (spool,) = spool_dir.iterdir()
    reading, writing = os.pipe()
    ready, set_ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        os.write(set_ready, b"!")
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    assert os.read(ready, 1) == b"!"
    ingestion._engine().spool.abandon()
    lock = OsDirectory(spool).lock("lock")
    for fd in (writing, ready, set_ready):
        os.close(fd)
    os.waitpid(pid, 0)
    assert lock is not None
    lock.release()
    ingestion.close()
