"""The server dies at every step between accept and rollup, under load: billed is what was sent.

``STREAMGAUGE_SOAK_ROUNDS`` sets how many rounds, ``STREAMGAUGE_SOAK_SEED`` repeats a run's choices.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import dying_server

ROUNDS = int(os.environ.get("STREAMGAUGE_SOAK_ROUNDS", "20"))
SEED = int(os.environ.get("STREAMGAUGE_SOAK_SEED", "0")) or secrets.randbits(32)
CHECK_EVERY = 10
ROUND_S = 0.7
DAY_S = 86_400
METER = {
    "event_name": "stream",
    "measurement_unit": "byte",
    "aggregation": {"type": "sum", "key": "bytes"},
}
# Enough above the reserve for the engine to begin.
DISK_MB = 128 + 160


def steps() -> list[str]:
    return [
        f"{step}:{when}" for step, when in itertools.product(dying_server.STEPS, dying_server.WHEN)
    ]


@contextlib.contextmanager
def sending(senders: list[Any]) -> Any:
    stop = threading.Event()
    with ThreadPoolExecutor(len(senders)) as threads:
        sent = [threads.submit(sender.send, stop) for sender in senders]
        try:
            yield
        finally:
            stop.set()
        for each in sent:
            each.result()


def add_meter(server: Any, name: str) -> None:
    """Make a meter; its answer may be lost, not the meter's exactness."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        server.ask("POST", "/meters", METER | {"name": name})


@pytest.mark.timeout(120 + ROUNDS * 20)
def test_sigkill_at_every_step_of_the_server_loses_nothing_and_doubles_nothing(
    new_server: Any, sender_type: Any, ledger_type: Any
) -> None:
    sys.stdout.write(f"STREAMGAUGE_SOAK_SEED={SEED} STREAMGAUGE_SOAK_ROUNDS={ROUNDS}\n")
    chance = random.Random(SEED)
    server = new_server()
    senders = [sender_type(server, chance.random()) for _ in range(4)]
    ledger = ledger_type(server, senders)
    assert server.start()
    add_meter(server, "first")
    server.end()
    # A short run takes some of the steps, each run others; a long one takes all.
    order = steps()
    chance.shuffle(order)
    died: list[str] = []
    for number, step in zip(range(ROUNDS), itertools.cycle(order), strict=False):
        # Rollups are made at a start and for a meter, and not by the load.
        of_rollups = "rollups" in step
        often = 7 if "archive" not in step else 3
        if server.start(f"{step}:{1 if of_rollups else chance.randrange(1, often)}"):
            with sending(senders):
                if number % 7 == 3 or of_rollups:
                    add_meter(server, f"made in round {number}")
                end = time.monotonic() + ROUND_S
                while server.alive() and time.monotonic() < end:
                    time.sleep(0.01)
                if not server.alive():
                    died.append(step)
                server.end()
        else:
            died.append(step)
        if number % CHECK_EVERY == CHECK_EVERY - 1:
            assert server.start()
            ledger.check()
            server.end()
    assert server.start()
    ledger.check()
    assert server.end(signal.SIGTERM) == 0
    ledger.check_store()
    sys.stdout.write(f"{len(died)} deaths at their step, {len(ledger.owed())} customers owe\n")
    assert len(died) > ROUNDS // 2, "most steps must be reached"


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    path = tmp_path / "disk"
    path.mkdir()
    size = f"size={DISK_MB}m,mode=0700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path, left: int = 0) -> None:
    """Take what space there is, but for what is to be left."""
    free = shutil.disk_usage(path.parent).free
    with path.open("ab", buffering=0) as ballast:
        for size in (2**20, 2**12):
            with contextlib.suppress(OSError):
                while (free := free - size) >= left:
                    ballast.write(bytes(size))
                free += size


def wait_until(condition: Any, what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def refused_by_all(senders: list[Any]) -> None:
    before = [len(sender.refusals) for sender in senders]
    wait_until(
        lambda: all(
            len(each.refusals) > count for each, count in zip(senders, before, strict=True)
        ),
        "a full disk must be told",
    )


def test_a_full_disk_answers_503_loses_nothing_and_heals_by_itself(
    new_server: Any, sender_type: Any, ledger_type: Any, small_disk: Path
) -> None:
    server = new_server(small_disk / "data")
    senders = [sender_type(server, seed) for seed in range(3)]
    ledger = ledger_type(server, senders)
    ballast = small_disk / "ballast"
    assert server.start()
    add_meter(server, "bytes")
    for number in range(3):
        with sending(senders):
            wait_until(lambda: all(sender.owed for sender in senders), "the load must begin")
            for left in (100 * 2**20, 0):
                # First into the reserve, where nothing new is taken; then all of it.
                fill(ballast, left)
                refused_by_all(senders)
            assert server.alive()
            if number == 1:
                server.end()
            ballast.unlink()
            if number == 1:
                assert server.start()
        wait_until(lambda: server.ask("GET", "/readyz")[0] == 200, "it must heal by itself")
        ledger.check()
    assert all(wait > 0 for sender in senders for wait in sender.refusals)
    assert server.end(signal.SIGTERM) == 0
    ledger.check_store()


def batches(events: int, size: int) -> list[list[dict[str, Any]]]:
    """Return the same load every time: ids of a spool and foreign ones, sometimes with a time."""
    writer = "5" * 32
    load = [
        {
            "event_id": f"{writer}-{number}" if number % 2 else f"order/{number}",
            "customer_id": f"cus_{number % 7}",
            "event_name": "stream",
            "metadata": {"bytes": number + 2**40},
        }
        for number in range(events)
    ]
    return [load[first : first + size] for first in range(0, events, size)]


def test_one_load_sent_fifty_times_over_weeks_by_eight_clients_is_billed_once(
    new_server: Any,
) -> None:
    server, load = new_server(), batches(10_000, 1_000)
    once = sum(number + 2**40 for number in range(10_000))
    stored = 0

    # Each part with a time of its own and with the server's.
    bodies = [
        json.dumps({"events": [event | stamp for event in part]}).encode()
        for part in load
        for stamp in (
            {},
            {"timestamp": "2026-01-05T00:00:00Z"},
            {"timestamp": "2025-12-31T23:59:59Z"},
        )
    ]

    def send(number: int) -> int:
        body = bodies[number % 10 * 3 + number // 10 % 3]
        status, answer, _ = server.ask("POST", "/events/ingest", body)
        assert status == 200, answer
        assert answer["ingested_count"] == 1_000
        return sum(each["result"] == "stored" for each in answer["results"])

    for clock_ahead_s, rounds in ((0, 25), (DAY_S, 24), (35 * DAY_S, 1)):
        assert server.start(clock_ahead_s=clock_ahead_s)
        if not clock_ahead_s:
            add_meter(server, "bytes")
        with ThreadPoolExecutor(8) as clients:
            stored += sum(clients.map(send, range(10 * rounds)))
        _, meters, _ = server.ask("GET", "/meters")
        window = "start=2020-01-01T00:00:00Z&end=2100-01-01T00:00:00Z"
        (meter,) = meters["items"]
        _, usage, _ = server.ask("GET", f"/v1/usage?meter_id={meter['id']}&{window}")
        assert (int(usage["quantity"]), usage["events"], stored) == (once, 10_000, 10_000)
        assert server.end(signal.SIGTERM) == 0
