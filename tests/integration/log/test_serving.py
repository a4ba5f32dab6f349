"""A server with its log in JetStream, as a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from streamgauge.core.errors import ConfigurationError
from streamgauge.core.limits import RETAINED_SEGMENTS_MAX
from streamgauge.server.ingest.jetstream import JetStream
from streamgauge.server.ingest.stream_log import STREAMS_KEEP
from tests.integration.ingest.conftest import Server
from tests.integration.log.conftest import Nodes

pytestmark = pytest.mark.cluster

YEAR = {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}


def event(number: int, name: str = "stream") -> dict[str, object]:
    return {
        "event_id": f"{name}{number}",
        "customer_id": f"cus_{number % 3}",
        "event_name": name,
        "timestamp": "2026-03-01T12:00:00Z",
        "metadata": {"bytes": 10},
    }


def sent(client: httpx.Client, *numbers: int, name: str = "stream") -> list[str]:
    events = [event(each, name) for each in numbers]
    answer = client.post("/events/ingest", json={"events": events})
    assert answer.status_code == 200, answer.text
    return [each["result"] for each in answer.json()["results"]]


def meter(client: httpx.Client, event_name: str = "stream") -> str:
    wanted = {
        "name": "Bytes",
        "event_name": event_name,
        "measurement_unit": "bytes",
        "aggregation": {"type": "sum", "key": "bytes"},
    }
    answer = client.post("/meters", json=wanted)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def usage(client: httpx.Client, meter_id: str) -> tuple[int, str]:
    answer = client.get("/v1/usage", params={"meter_id": meter_id, **YEAR})
    assert answer.status_code == 200, answer.text
    return answer.json()["events"], answer.json()["quantity"]


def test_a_server_over_jetstream_bills_once_across_kills_and_a_lost_data_directory_of_ids(
    nodes: Nodes, connect: Callable[[], JetStream], tmp_path: Path
) -> None:
    connect()
    hosts = ",".join(url.removeprefix("nats://") for url in nodes.urls)
    url = f"nats://{hosts}/alone?bytes_max=1073741824"
    server = Server(tmp_path / "data", ingest_log=url)
    try:
        with server.start().client() as client:
            made = meter(client)
            assert sent(client, 1, 2, 3) == ["stored"] * 3
            assert sent(client, 2, 4) == ["duplicate", "stored"]
            assert usage(client, made) == (4, "40")
            assert sent(client, 5) == ["stored"]
        server.kill()
        with server.start().client() as client:
            assert sent(client, 5, 6) == ["duplicate", "stored"]
            assert usage(client, made) == (6, "60")
            assert client.get("/readyz").json()["damage"] == []
        assert server.stop() == 0
        for file in (server.data_dir / "ids-followed").iterdir():
            file.unlink()
        with server.start().client() as client:
            assert sent(client, 1, 6, 7) == ["duplicate", "duplicate", "stored"]
            assert usage(client, made) == (7, "70")
            who = {"customer_id": "cus_1", "email": "ann@example.com", "name": "Ann"}
            client.post("/customers", json=who).raise_for_status()
            personal = event(10) | {"metadata": {"bytes": 10, "address": "10.1.1.1"}}
            client.post("/events/ingest", json={"events": [personal]}).raise_for_status()
            forgotten = client.post("/v1/customers/cus_1/forget").raise_for_status().json()
            assert forgotten["by_hand"] == [STREAMS_KEEP]
            kept = client.get("/events/stream10").json()["metadata"]
            assert kept == {"bytes": 10, "streamgauge_forgotten": True}
            assert usage(client, made) == (8, "80")
        assert server.stop() == 0
        assert not list((server.data_dir).glob("log/*"))
    finally:
        server.kill()


def test_events_are_archived_over_jetstream_too_and_their_ids_stay_known(
    nodes: Nodes, connect: Callable[[], JetStream], tmp_path: Path
) -> None:
    connect()
    hosts = ",".join(url.removeprefix("nats://") for url in nodes.urls)
    url = f"nats://{hosts}/archived?bytes_max=1073741824"
    server = Server(tmp_path / "data", ingest_log=url)
    last = RETAINED_SEGMENTS_MAX + 3
    try:
        with server.start().client() as client:
            old = event(1) | {"timestamp": (datetime.now(UTC) - timedelta(days=80)).isoformat()}
            client.post("/events/ingest", json={"events": [old]}).raise_for_status()
            for number in range(2, last):
                sent(client, number)
                client.get(f"/events/stream{number}").raise_for_status()
        assert server.stop() == 0
        # All ids are read again from the store, where one is archived by then.
        for name in ("ids", "ids-followed"):
            for file in (server.data_dir / name).glob("snapshot*"):
                file.unlink()
        server.start(keep_events_days="35")
        with server.operator() as operator, server.client() as client:
            end = time.monotonic() + 30
            while operator.get("/v1/retention").json()["events"] == 0:
                assert time.monotonic() < end
                time.sleep(0.05)
            listed = client.get("/events", params={"page_size": 100}).json()["items"]
            assert len(listed) == last - 1
        assert server.stop() == 0
        for file in (server.data_dir / "ids-followed").glob("snapshot*"):
            file.unlink()
        with server.start().client() as client:
            assert sent(client, 1, last) == ["duplicate", "stored"]
            assert client.get("/events/stream1").json()["metadata"] == {"bytes": 10}
    finally:
        server.kill()


def test_a_log_that_cannot_be_reached_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamgauge.server.ingest.nats_connection._OPEN_S", 0.5)
    with pytest.raises(ConfigurationError, match=r"server of nats://127\.0\.0\.1:1 lets us in"):
        JetStream(["nats://me:secret@127.0.0.1:1"], name="tests", replicas=3)
