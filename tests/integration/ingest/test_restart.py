from __future__ import annotations

import subprocess
import sys
from typing import Any

import httpx
import pytest

from streamgauge.core.errors import ConfigurationError, LockedError
from streamgauge.server.app import Opened
from streamgauge.server.config import Config
from streamgauge.server.layout import LOG

METER = {
    "name": "bytes",
    "event_name": "stream",
    "measurement_unit": "byte",
    "aggregation": {"type": "sum", "key": "bytes"},
}
WINDOW = {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}


def usage_of(client: httpx.Client, meter_id: str) -> int:
    answer = client.get("/v1/usage", params={"meter_id": meter_id, **WINDOW})
    return int(answer.raise_for_status().json()["quantity"])


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
        assert client.get("/events").status_code == 200, "now it is in the store"
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
