from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from streamgauge.server.app import Opened, create_app
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.meters import NewMeter
from streamgauge.server.config import Config
from streamgauge.server.layout import CATALOG
from streamgauge.server.metering.meter import Aggregation, AggregationType
from streamgauge.server.telemetry import configure_logging

SUM = NewMeter(
    name="Bytes",
    event_name="stream",
    measurement_unit="byte",
    aggregation=Aggregation(type=AggregationType.SUM, key="bytes"),
)


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[tuple[Opened, httpx.AsyncClient]]:
    configure_logging(level="warning", as_json=False)
    opened = await asyncio.to_thread(Opened, Config(data_dir=data_dir))
    opened.start()
    made = opened.parts.catalog.keys.create(mode="test_mode", name="test")
    try:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(opened.parts)),
            base_url="http://server",
            headers={"authorization": f"Bearer {made.token}"},
        ) as http:
            yield opened, http
    finally:
        await opened.close()


def run(data_dir: Path, work: Callable[[Opened, httpx.AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with running(data_dir) as (opened, http):
            await work(opened, http)

    asyncio.run(main())


async def ingest(http: httpx.AsyncClient, first: int, count: int) -> None:
    events = [
        {
            "event_id": f"event_{number}",
            "customer_id": "customer_1",
            "event_name": "stream",
            "metadata": {"bytes": number, "quality": "1080p" if number % 2 else "480p"},
        }
        for number in range(first, first + count)
    ]
    answer = await http.post("/events/ingest", json={"events": events})
    assert answer.status_code == 200, answer.text


async def usage(http: httpx.AsyncClient, meter_id: str) -> dict[str, Any]:
    answer = await http.get("/v1/usage", params={"meter_id": meter_id, "customer_id": "customer_1"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_meter_counts_events_from_before_it_was_made(tmp_path: Path) -> None:
    async def work(opened: Opened, http: httpx.AsyncClient) -> None:
        await ingest(http, 0, 100)
        made = await http.post("/meters", content=msgspec.json.encode(SUM))
        meter = made.json()
        assert (await usage(http, meter["id"]))["quantity"] == str(sum(range(100)))
        await ingest(http, 100, 100)
        assert (await usage(http, meter["id"]))["quantity"] == str(sum(range(200)))

    run(tmp_path / "data", work)


def test_a_meter_whose_server_died_before_its_rollup_is_made_whole_at_the_start(
    tmp_path: Path,
) -> None:
    kept: list[str] = []

    async def die(opened: Opened, http: httpx.AsyncClient) -> None:
        await ingest(http, 0, 100)
        # What the handler does before it asks for the rollup, and nothing after it.
        meter = opened.parts.catalog.meters.create("test_mode", SUM)
        kept.append(meter.id)
        assert not opened.parts.store.is_rolled_up(meter)

    async def go_on(opened: Opened, http: httpx.AsyncClient) -> None:
        await opened.filled()
        assert opened.parts.store.is_rolled_up(
            opened.parts.catalog.meters.get("test_mode", kept[0])
        )
        await ingest(http, 100, 100)
        answer = await usage(http, kept[0])
        assert (answer["quantity"], answer["events"]) == (str(sum(range(200))), 200)

    run(tmp_path / "data", die)
    run(tmp_path / "data", go_on)


@pytest.mark.parametrize("archived", [False, True])
def test_an_archived_meter_goes_on_counting(tmp_path: Path, *, archived: bool) -> None:
    async def work(opened: Opened, http: httpx.AsyncClient) -> None:
        made = await http.post("/meters", content=msgspec.json.encode(SUM))
        id = made.json()["id"]
        if archived:
            assert (await http.delete(f"/meters/{id}")).status_code == 204
        await ingest(http, 0, 10)
        assert (await usage(http, id))["quantity"] == str(sum(range(10)))

    run(tmp_path / "data", work)


@pytest.mark.parametrize(
    ("aggregation", "quantity"),
    [("sum", "6"), ("count", "4"), ("max", "3"), ("last", "0"), ("unique", "4"), ("avg", "1.5")],
)
def test_every_aggregation_is_evaluated(tmp_path: Path, aggregation: str, quantity: str) -> None:
    async def work(opened: Opened, http: httpx.AsyncClient) -> None:
        body = {
            "name": "m",
            "event_name": "stream",
            "measurement_unit": "byte",
            "aggregation": {"type": aggregation, "key": "bytes"},
        }
        made = await http.post("/meters", json=body)
        assert made.status_code == 201
        await ingest(http, 1, 3)
        # Sent last, so it is the last one even if the clock stood still.
        await ingest(http, 0, 1)
        assert (await usage(http, made.json()["id"]))["quantity"] == quantity

    run(tmp_path / "data", work)


def test_filters_inside_one_another_count_what_they_say(tmp_path: Path) -> None:
    leaf = {"key": "quality", "operator": "equals", "value": "1080p"}
    small = {"key": "bytes", "operator": "less_than", "value": 5}
    one = {"conjunction": "and", "clauses": [leaf]}
    two = {"conjunction": "and", "clauses": [one, small]}
    three = {"conjunction": "or", "clauses": [two, small]}

    async def work(opened: Opened, http: httpx.AsyncClient) -> None:
        await ingest(http, 0, 10)
        for filter, quantity in ((one, "25"), (two, "4"), (three, "10")):
            body = msgspec.to_builtins(SUM) | {"filter": filter}
            made = await http.post("/meters", json=body)
            assert made.status_code == 201, made.text
            assert (await usage(http, made.json()["id"]))["quantity"] == quantity

    run(tmp_path / "data", work)


def test_a_key_revoked_on_the_files_stops_a_running_server_at_once(tmp_path: Path) -> None:
    async def work(opened: Opened, http: httpx.AsyncClient) -> None:
        assert (await http.get("/events")).status_code == 200
        beside = Catalog(tmp_path / "data" / CATALOG)
        (key,) = beside.keys.list()
        beside.keys.revoke(key.id)
        beside.close()
        assert (await http.get("/events")).status_code == 401
        assert (await http.post("/events/ingest", json={"events": []})).status_code == 401

    run(tmp_path / "data", work)
