"""A store across HTTP: who may fill it, and what a server does while it is away.

The store is the embedded engine behind ``tests/clickhouse_front.py``.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.server.app import Opened
from streamgauge.server.config import Config
from streamgauge.server.ingest.pipeline import Pipeline
from streamgauge.server.store import EventStore, address, suitable
from streamgauge.server.store.engine import Engine
from tests.clickhouse_front import FrontProcess
from tests.in_process import SUM, served
from tests.integration.store.conftest import Shelf
from tests.postgresql import Cluster

pytestmark = pytest.mark.cluster


def body(first: int) -> dict[str, Any]:
    events = [
        {
            "event_id": f"event_{number}",
            "customer_id": "customer_1",
            "event_name": "stream",
            "metadata": {"bytes": 10**30},
        }
        for number in range(first, first + 100)
    ]
    return {"events": events}


def test_an_outage_of_the_store_stops_no_ingest_and_heals(
    tmp_path: Path, clickhouse_front: FrontProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(http: httpx.AsyncClient, opened: Opened) -> None:
        made = await http.post("/meters", content=msgspec.json.encode(SUM))
        asked = {"meter_id": made.json()["id"], "customer_id": "customer_1"}

        async def quantity() -> int:
            answer = await http.get("/v1/usage", params=asked)
            assert answer.status_code == 200, answer.text
            return int(answer.json()["quantity"])

        async def refused() -> None:
            answer = await http.get("/v1/usage", params=asked)
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            assert "127.0.0.1" not in answer.text

        assert (await http.post("/events/ingest", json=body(0))).status_code == 200
        assert await quantity() == 100 * 10**30
        clickhouse_front.kill()
        await refused()
        for first in (100, 200, 0):
            assert (await http.post("/events/ingest", json=body(first))).status_code == 200
        monkeypatch.setattr(Pipeline.caught_up, "__defaults__", (0.5,))
        await refused()
        ready = await http.get("/readyz")
        assert (ready.status_code, "127.0.0.1" in ready.text) == (503, False)
        clickhouse_front.start()
        await opened.parts.pipeline.caught_up(60)
        assert await quantity() == 300 * 10**30
        assert (await http.get("/readyz")).status_code == 200

    served(Config(data_dir=tmp_path / "data", store=clickhouse_front.url("billing")), work)
    stored = EventStore(clickhouse_front.url("billing"), query_clients=1)
    assert sum(stored.rows_of_segments(1).values()) == 300
    stored.close()


def test_a_store_is_filled_from_one_log(tmp_path: Path, clickhouse_front: FrontProcess) -> None:
    url = clickhouse_front.url("billing")

    async def ingest(http: httpx.AsyncClient, _opened: Opened) -> None:
        assert (await http.post("/events/ingest", json=body(0))).status_code == 200

    served(Config(data_dir=tmp_path / "one", store=url), ingest)
    served(Config(data_dir=tmp_path / "one", store=url), ingest)
    with pytest.raises(ConfigurationError, match="each needs a database of its own"):
        served(Config(data_dir=tmp_path / "two", store=url), ingest)
    served(Config(data_dir=tmp_path / "two", store=clickhouse_front.url("another")), ingest)
    with pytest.raises(ConfigurationError, match="give it as --store"):
        Opened(Config(data_dir=tmp_path / "one"))
    (tmp_path / "one" / "engine").mkdir()
    with pytest.raises(ConfigurationError, match="has events of its own"):
        served(Config(data_dir=tmp_path / "one", store=url), ingest)
    (tmp_path / "one" / "engine").rmdir()
    (tmp_path / "one" / "log.origin").write_text("lost")
    with pytest.raises(ConfigurationError, match="32 hexadecimal digits"):
        served(Config(data_dir=tmp_path / "one", store=url), ingest)


def test_an_insert_whose_answer_was_lost_is_repeated_and_counted_once(
    clickhouse_front: FrontProcess, new_meter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "STORE_ANSWER_S", 1)
    shelf = Shelf(clickhouse_front.url("billing"))
    meter = new_meter()
    shelf.roll_up(meter, 0)
    clickhouse_front.pause()
    with pytest.raises(UnavailableError, match="refused an insert: it does not answer"):
        shelf.insert_values(1, "1", "2")
    # What it was sent is still before it, and it takes it now.
    clickhouse_front.go_on()
    deadline = time.monotonic() + 60
    while shelf.store.rows_of_segments(1) != {1: 2}:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for _ in range(2):
        shelf.insert_values(1, "1", "2")
    assert [row.quantity for row in shelf.both_ways(meter)] == [3]
    shelf.store.close()


def test_a_wrong_password_is_told_at_the_start_and_not_shown(
    tmp_path: Path, clickhouse_front: FrontProcess
) -> None:
    url = clickhouse_front.url("billing").replace("pass%2Fword", "hush")
    with pytest.raises(UnavailableError, match="does not open") as refused:
        EventStore(url)
    assert "hush" not in str(refused.value)


def test_a_server_that_is_not_there_is_told_at_the_start(clickhouse_front: FrontProcess) -> None:
    url = clickhouse_front.url("billing")
    clickhouse_front.kill()
    try:
        with pytest.raises(UnavailableError, match="does not open"):
            EventStore(url)
    finally:
        clickhouse_front.start()


def test_a_server_that_would_forget_repeats_is_refused(
    clickhouse_front: FrontProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = clickhouse_front.url("replicated")
    EventStore(url, query_clients=1).close()
    asking = Engine(url, query_clients=1)
    asking.define("DROP TABLE events")
    asking.define("CREATE TABLE events (n UInt8) ENGINE = ReplacingMergeTree ORDER BY n")
    asking.close()
    with pytest.raises(ConfigurationError, match="is a ReplacingMergeTree, not a MergeTree"):
        EventStore(url)
    monkeypatch.setattr(suitable, "_SETTINGS", ("async_insert", "of_the_future"))
    with pytest.raises(ConfigurationError, match="lacks of_the_future; a newer one is needed"):
        EventStore(url)


@pytest.mark.postgresql
def test_a_month_is_billed_with_events_and_catalog_both_elsewhere(
    tmp_path: Path, clickhouse_front: FrontProcess, postgresql_cluster: Cluster
) -> None:
    store = clickhouse_front.url("billing")
    catalog = postgresql_cluster.url(postgresql_cluster.new_schema())
    events = body(0)
    for event in events["events"]:
        event["timestamp"] = "2026-02-03T00:00:00Z"
    plan = {
        "meter": msgspec.to_builtins(SUM),
        "currency": "USD",
        "price_per_unit": "0.000000000001",
    }
    plan |= {"price_unit": "GB"}
    finals: list[dict[str, Any]] = []

    async def bill(http: httpx.AsyncClient, _opened: Opened) -> None:
        if not finals:
            assert (await http.post("/v1/plans", json=plan)).status_code == 201
        sent = await http.post("/events/ingest", json=events)
        statuses = {each["result"] for each in sent.json()["results"]}
        assert statuses == ({"duplicate"} if finals else {"stored"})
        asked = {"customer_id": "customer_1", "at": "2026-02-10T00:00:00Z"}
        drawn = await http.post("/v1/invoices/finalise", json=asked)
        (final,) = drawn.json()["items"]
        explained = await http.get(f"/v1/invoices/{final['id']}/lines/1/events")
        assert explained.json()["units"] == final["lines"][0]["consumed_units"] == str(10**32)
        finals.append(final)

    served(Config(data_dir=tmp_path / "data", store=store, catalog=catalog), bill)
    served(Config(data_dir=tmp_path / "data", store=store, catalog=catalog), bill)
    assert finals[0] == finals[1]
    assert finals[0]["total"] == 10**11
