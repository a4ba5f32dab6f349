from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamgauge.core.errors import ConfigurationError, LockedError
from streamgauge.core.ids import new_writer_id
from streamgauge.server.app import ENGINE, LOG, Opened
from streamgauge.server.config import Config
from streamgauge.server.store import EventStore

ROUNDS = int(os.environ.get("STREAMGAUGE_SOAK_ROUNDS", "3"))
METER = {
    "name": "bytes",
    "event_name": "stream",
    "measurement_unit": "byte",
    "aggregation": {"type": "sum", "key": "bytes"},
}
WINDOW = {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}


class Sender(threading.Thread):
    """Sends batches until the server dies, and remembers what was acknowledged."""

    def __init__(self, client: httpx.Client, event: Callable[..., Any], seed: int) -> None:
        super().__init__()
        self._client = client
        self._event = event
        self._random = random.Random(seed)
        self._writer = new_writer_id()
        self._sent = 0
        self.acknowledged: list[str] = []
        self.unanswered: list[dict[str, Any]] = []

    def run(self) -> None:
        while not self.unanswered:
            batch = [self._next() for _ in range(self._random.choice([1, 7, 200]))]
            try:
                answer = self._client.post("/events/ingest", json={"events": batch})
            except httpx.TransportError:
                self.unanswered = batch
            else:
                assert answer.json()["ingested_count"] == len(batch)
                self.acknowledged += [each["event_id"] for each in batch]

    def _next(self) -> dict[str, Any]:
        self._sent += 1
        foreign = self._random.random() < 0.3
        id = f"f{self._writer}_{self._sent}" if foreign else f"{self._writer}-{self._sent}"
        return self._event(id, timestamp=f"2026-0{1 + self._sent % 3}-01T00:00:00Z")


def usage_of(client: httpx.Client, meter_id: str) -> int:
    answer = client.get("/v1/usage", params={"meter_id": meter_id, **WINDOW})
    return int(answer.raise_for_status().json()["quantity"])


@pytest.mark.timeout(60 + ROUNDS * 30)
def test_what_was_acknowledged_survives_sigkill_exactly_once(new_server: Any, event: Any) -> None:
    server = new_server().start()
    chance = random.Random(7)
    with server.client() as client:
        meter_id = client.post("/meters", json=METER).json()["id"]
    sent: set[str] = set()
    for round_number in range(ROUNDS):
        with server.client() as client:
            senders = [Sender(client, event, chance.random()) for _ in range(4)]
            for sender in senders:
                sender.start()
            while min(len(sender.acknowledged) for sender in senders) < 50 * (round_number % 2 + 1):
                time.sleep(0.005)
            time.sleep(chance.random() / 4)
            server.kill()
            for sender in senders:
                sender.join()
        sent |= {id for sender in senders for id in sender.acknowledged}
        server.start()
        with server.client() as client:
            for sender in senders:
                # Its answer was lost, not necessarily its events: the ids make that one case.
                body = {"events": sender.unanswered}
                client.post("/events/ingest", json=body).raise_for_status()
                sent |= {each["event_id"] for each in sender.unanswered}
            known = client.post("/events/ingest", json={"events": sender.unanswered}).json()
            assert {each["result"] for each in known["results"]} == {"duplicate"}
            assert usage_of(client, meter_id) == len(sent)
    assert server.stop() == 0
    assert stored_ids(server.data_dir) == sorted(sent)


def stored_ids(data_dir: Path) -> list[str]:
    store = EventStore(f"chdb://{data_dir / ENGINE}")
    try:
        return sorted(id for (id,) in store._engine.rows("SELECT event_id FROM streamgauge.events"))
    finally:
        store.close()


def test_a_stop_settles_everything_and_a_start_replays_nothing_twice(
    new_server: Any, event: Any
) -> None:
    server = new_server().start()
    for round_number in range(2):
        with server.client() as client:
            if not round_number:
                meter_id = client.post("/meters", json=METER).json()["id"]
            batch = [event(f"{round_number}-{n}") for n in range(10)]
            client.post("/events/ingest", json={"events": batch}).raise_for_status()
        assert server.stop() == 0
        server.start()
        with server.client() as client:
            assert usage_of(client, meter_id) == 10 * (round_number + 1)


def test_a_second_server_on_the_same_directory_is_refused(new_server: Any) -> None:
    server = new_server().start()
    command = [sys.executable, "-m", "streamgauge.server", "--port", "0", "--data-dir"]
    second = subprocess.run(
        [*command, str(server.data_dir)], capture_output=True, text=True, check=False, timeout=60
    )
    assert second.returncode == 1
    assert second.stderr.strip() == (
        f"the data directory {server.data_dir} is already open in another process"
    )
    with pytest.raises(LockedError):
        Opened(Config(data_dir=server.data_dir))
    with server.client() as client:
        assert client.get("/events").status_code == 200


def test_a_damaged_segment_is_reported_and_the_rest_is_served(new_server: Any, event: Any) -> None:
    server = new_server().start()
    with server.client() as client:
        for id in ("first", "second", "third"):
            # Listing brings each to a segment of its own; the last two are inserted again later.
            client.post("/events/ingest", json={"events": [event(id)]}).raise_for_status()
            assert client.get("/events").status_code == 200
    server.kill()
    log = server.data_dir / LOG
    (segment,) = [path for path in log.glob("*.seg") if b'"second"' in path.read_bytes()]
    data = bytearray(segment.read_bytes())
    data[data.index(b'"second"') + 1] ^= 1
    segment.write_bytes(bytes(data) + bytes(data)[-200:])
    (log / "inserted").unlink()
    server.start()
    with server.client() as client:
        damage = client.get("/readyz").json()["damage"]
        assert damage
        assert all(text.startswith(f"{segment.name} is corrupt at byte ") for text in damage)
        assert "streamgauge_log_damage 0.0" not in client.get("/metrics").text
        assert client.get("/events/third").status_code == 200
    assert (log / "quarantine" / segment.name).read_bytes()[: len(data)] == bytes(data)


def test_a_log_that_was_emptied_under_a_store_is_refused(new_server: Any, event: Any) -> None:
    server = new_server().start()
    with server.client() as client:
        client.post("/events/ingest", json={"events": [event("a")]}).raise_for_status()
    assert server.stop() == 0
    for path in (server.data_dir / LOG).glob("*"):
        path.unlink()
    command = [sys.executable, "-m", "streamgauge.server", "--port", "0", "--data-dir"]
    second = subprocess.run(
        [*command, str(server.data_dir)], capture_output=True, text=True, check=False, timeout=60
    )
    assert second.returncode == 1
    assert "but the ingest log ends at 0" in second.stderr


def test_a_lost_catalog_is_named_and_not_replaced_by_another_business(
    new_server: Any, event: Any
) -> None:
    server = new_server().start()
    with server.client() as client:
        client.post("/events/ingest", json={"events": [event("mine")]}).raise_for_status()
    server.stop()
    for file in server.data_dir.glob("catalog.sqlite*"):
        file.unlink()
    with pytest.raises(ConfigurationError, match="the catalog was lost"):
        Opened(Config(data_dir=server.data_dir))
