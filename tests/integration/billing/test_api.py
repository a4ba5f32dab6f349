from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from streamgauge.core.keys import KeyScope
from streamgauge.server.app import Opened, create_app
from streamgauge.server.billing.periods import CALENDAR_MONTHS, period_at
from streamgauge.server.config import Config
from streamgauge.server.run import Operator
from streamgauge.server.telemetry import configure_logging

GB = 10**9
NUMBERS = count()
Scenario = Callable[[httpx.AsyncClient], Awaitable[None]]


def run(path: Path, scenario: Scenario, *, scope: KeyScope = "admin") -> None:
    """Run ``scenario`` against a whole server, without a socket."""

    async def whole() -> None:
        opened = await asyncio.to_thread(Opened, Config(data_dir=path))
        try:
            opened.start()
            catalog = opened.parts.catalog
            token = catalog.keys.create(mode="test_mode", name="k", scope=scope).token
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(create_app(opened.parts)),
                base_url="http://streamgauge",
                headers={"authorization": f"Bearer {token}"},
            ) as client:
                await scenario(client)
        finally:
            await opened.close()

    asyncio.run(whole())


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "billing"
    path.mkdir(mode=0o700)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    configure_logging(level="error", as_json=False)
    yield path
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    structlog.reset_defaults()


async def ask(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> Any:
    response = await client.request(method, path, **more)
    assert response.status_code in {200, 201}, response.text
    return response.json()


async def make(
    client: httpx.AsyncClient, name: str, quality: str | None = None, **more: Any
) -> Any:
    condition = {"key": "quality", "operator": "equals", "value": quality}
    meter = {
        "name": name,
        "event_name": "stream_consumption",
        "measurement_unit": "byte",
        "aggregation": {"type": "sum", "key": "bytes"},
        "filter": {"conjunction": "and", "clauses": [condition]} if quality else None,
    }
    price = {"currency": "USD", "price_per_unit": "5", "price_unit": "GB"}
    return await ask(client, "POST", "/v1/plans", json={"meter": meter, **price, **more})


async def send(client: httpx.AsyncClient, *events: dict[str, Any]) -> None:
    whole = [
        {"event_id": f"e{next(NUMBERS)}", "event_name": "stream_consumption", **event}
        for event in events
    ]
    await ask(client, "POST", "/events/ingest", json={"events": whole})


def used(
    customer_id: str, quantity: object, at: str | None = None, **more: object
) -> dict[str, Any]:
    metadata = {"bytes": quantity, **more}
    return {"customer_id": customer_id, "metadata": metadata, "timestamp": at}


def test_from_a_plan_over_events_to_an_explained_preview(directory: Path) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        made = await make(client, "egress", free_threshold=10 * GB)
        await send(client, used("c", 16 * GB), used("c", "lost"), used("other", GB))

        (invoice,) = (await ask(client, "GET", "/v1/invoices/preview?customer_id=c"))["items"]
        posted = await ask(client, "POST", "/v1/invoices/preview", json={"customer_id": "c"})
        (line,) = invoice["lines"]
        query = {"meter_id": line["meter_id"], "customer_id": "c"}
        explained = await ask(client, "GET", "/v1/usage/events", params=query)

        assert line["meter_id"] == made["meter"]["id"]
        assert (invoice["total"], invoice["total_text"]) == (30, "0.30 USD")
        assert posted["items"][0]["lines"] == invoice["lines"]
        assert explained["units"] == line["consumed_units"] == str(16 * GB)
        assert sorted(str(event["units"]) for event in explained["items"]) == [str(16 * GB), "None"]
        assert (explained["events"], explained["not_counted"]) == (1, 1)

    run(directory, scenario)


def test_a_month_is_finalised_explained_and_never_changed(directory: Path) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await make(client, "egress")
        await send(
            client, *(used("c", number * GB, "2026-02-03T00:00:00Z") for number in (1, 2, 3))
        )

        body = {"customer_id": "c", "at": "2026-02-10T00:00:00Z"}
        (final,) = (await ask(client, "POST", "/v1/invoices/finalise", json=body))["items"]
        await send(client, used("c", 7 * GB, "2026-02-28T23:59:59.999999Z"))
        (again,) = (await ask(client, "POST", "/v1/invoices/finalise", json=body))["items"]
        got = await ask(client, "GET", f"/v1/invoices/{final['id']}")
        listed = await ask(client, "GET", "/v1/invoices", params={"customer_id": "c"})
        events = f"/v1/invoices/{final['id']}/lines/1/events"
        first = await ask(client, "GET", events, params={"page_size": 2})
        rest = await ask(client, "GET", events, params={"page_size": 2, "page_number": 1})
        late = await ask(client, "GET", events, params={"late": "true"})

        assert (final["total"], final["unbilled_late"]) == (30, [])
        assert again == got
        assert {**got, "unbilled_late": []} == final
        assert [(one["units"], one["amount"]) for one in got["unbilled_late"]] == [
            (str(7 * GB), 35)
        ]
        assert [one["id"] for one in listed["items"]] == [final["id"]]
        units = [int(event["units"]) for page in (first, rest) for event in page["items"]]
        assert sum(units) == int(first["units"]) == 6 * GB
        assert [event["units"] for event in late["items"]] == [str(7 * GB)]
        assert (await client.get(f"/v1/invoices/{final['id']}/lines/9/events")).status_code == 404
        for number in ("x", "9" * 5_000):
            path = f"/v1/invoices/{final['id']}/lines/{number}/events"
            assert (await client.get(path)).status_code == 404
        assert (await client.get("/v1/invoices/inv_none")).status_code == 404

    run(directory, scenario)


def test_late_usage_is_on_the_customers_page_beside_the_final_invoice(directory: Path) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await make(client, "egress")
        await send(client, used("c", GB, "2026-02-03T00:00:00Z"))
        body = {"customer_id": "c", "at": "2026-02-10T00:00:00Z"}
        (final,) = (await ask(client, "POST", "/v1/invoices/finalise", json=body))["items"]
        await send(client, used("c", 7 * GB, "2026-02-28T00:00:00Z"))

        assert isinstance(client._transport, httpx.ASGITransport)
        operator = httpx.ASGITransport(Operator(client._transport.app))
        async with httpx.AsyncClient(transport=operator, base_url=client.base_url) as browser:
            link = (await browser.post("/app/links")).json()["path"]
            await browser.get(link)
            shown = (await browser.get("/app/invoices", params={"customer_id": "c"})).text

        (late,) = re.findall(r"data-late>(.*?)</td>", shown, re.DOTALL)
        assert final["id"] in shown
        assert f"{7 * GB} units, 0.35 USD" in " ".join(late.split())

    run(directory, scenario)


def test_usage_is_grouped_cut_and_ranked(directory: Path) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        meter_id = (await make(client, "egress"))["meter"]["id"]
        await send(
            client,
            used("a", 2**64, "2026-02-03T00:00:00Z", quality="hd"),
            used("a", 1, "2026-02-03T01:00:00Z", quality="sd"),
            used("b", 5, "2026-02-03T00:59:59Z", quality="hd"),
            used("b", 7, "2026-03-01T00:00:00Z"),
            used("c", 0.5, "2026-02-03T02:00:00Z"),
        )
        window = {
            "meter_id": meter_id,
            "start": "2026-02-01T00:00:00Z",
            "end": "2026-03-01T00:00:00Z",
        }

        async def items(**more: Any) -> list[tuple[Any, ...]]:
            answer = await ask(client, "GET", "/v1/usage", params=window | more)
            assert answer["quantity"] == "18446744073709551622.5" or "customer_id" in more
            return [
                (item["customer_id"], item["group"], item["bucket"], item["quantity"])
                for item in answer["items"]
            ]

        assert await items() == [(None, {}, None, "18446744073709551622.5")]
        assert await items(customer_id="b") == [(None, {}, None, "5")]
        assert await items(group_by="customer_id") == [
            ("a", {}, None, "18446744073709551617"),
            ("b", {}, None, "5"),
            ("c", {}, None, "0.5"),
        ]
        assert await items(top=1) == [("a", {}, None, "18446744073709551617")]
        by_quality = await items(group_by="quality")
        assert sorted(by_quality, key=str) == [
            (None, {"quality": "hd"}, None, "18446744073709551621"),
            (None, {"quality": "sd"}, None, "1"),
            (None, {"quality": None}, None, "0.5"),
        ]
        assert [(bucket, quantity) for _, _, bucket, quantity in await items(bucket="hour")] == [
            ("2026-02-03T00:00:00Z", "18446744073709551621"),
            ("2026-02-03T01:00:00Z", "1"),
            ("2026-02-03T02:00:00Z", "0.5"),
        ]

    run(directory, scenario)


def test_usage_without_a_window_is_that_of_the_running_month(directory: Path) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        meter_id = (await make(client, "egress"))["meter"]["id"]
        month = period_at(CALENDAR_MONTHS, datetime.now(UTC))
        await send(client, used("a", 5), used("a", 9, "2026-02-03T00:00:00Z"))

        answer = await ask(client, "GET", "/v1/usage", params={"meter_id": meter_id})

        assert datetime.fromisoformat(answer["start"]) == month.start
        assert datetime.fromisoformat(answer["end"]) == month.end
        assert answer["measures"] == "sum of bytes over events named stream_consumption"

    run(directory, scenario)


def test_a_usage_question_that_breaks_a_rule_is_refused(directory: Path) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        meter_id = (await make(client, "egress"))["meter"]["id"]
        for params, rule in (
            ({"start": "2026-02-01T00:00:30Z"}, "whole UTC minute"),
            ({"start": "2026-02-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}, "be after"),
            ({"top": "0"}, "be from 1"),
            ({"top": "5", "bucket": "hour"}, "without bucket"),
            ({"bucket": "fortnight"}, "bucket"),
        ):
            response = await client.get("/v1/usage", params={"meter_id": meter_id, **params})
            assert response.status_code == 400, response.text
            assert rule in response.json()["message"]
        assert (await client.get("/v1/usage?meter_id=mtr_none")).status_code == 404

    run(directory, scenario)


def test_meters_of_one_plan_split_an_invoice_into_lines(directory: Path) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        hd = await make(client, "hd", "1080p", price_per_unit="7")
        sd = await make(client, "sd", "480p", free_threshold=GB)
        every = await make(client, "everything")
        await send(client, used("c", 2 * GB, quality="1080p"), used("c", 3 * GB, quality="480p"))

        (invoice,) = (await ask(client, "GET", "/v1/invoices/preview?customer_id=c"))["items"]

        assert hd["product_id"] == sd["product_id"] == every["product_id"]
        assert (sd["warnings"], len(every["warnings"])) == ([], 2)
        assert [(line["title"], line["amount"]) for line in invoice["lines"]] == [
            ("hd", 14),
            ("sd", 10),
            ("everything", 25),
        ]
        assert hd["dodo"] == {
            "event_name": "stream_consumption",
            "aggregation": "sum",
            "over_property": "bytes",
            "measurement_unit": "byte",
            "filter": 'quality equals "1080p"',
            "currency": "USD",
            "price_per_unit": "0.000000007",
            "price_per_unit_major": "0.00000000007",
            "free_threshold": 0,
            "warnings": [],
        }

    run(directory, scenario)


def test_a_plan_that_cannot_be_made_leaves_no_meter_behind(directory: Path) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await make(client, "egress")
        meter = {
            "name": "again",
            "event_name": "stream_consumption",
            "measurement_unit": "byte",
            "aggregation": {"type": "sum", "key": "bytes"},
        }
        price = {"currency": "USD", "price_per_unit": "5"}
        for changes, status in (
            ({}, 409),
            ({"currency": "EUR"}, 409),
            ({"currency": "euro", "plan": "new"}, 400),
            ({"price_per_unit": "0", "plan": "new"}, 400),
        ):
            response = await client.post("/v1/plans", json={"meter": meter, **price, **changes})
            assert response.status_code == status, response.text

        assert [each["name"] for each in (await ask(client, "GET", "/meters"))["items"]] == [
            "egress"
        ]

    run(directory, scenario)


def test_a_key_that_only_reads_previews_and_does_not_finalise(directory: Path) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for path, status in (("preview", 404), ("finalise", 403)):
            response = await client.post(f"/v1/invoices/{path}", json={"customer_id": "c"})
            assert response.status_code == status, response.text

    run(directory, scenario, scope="read")


def test_a_customer_that_nothing_bills_is_told_so(directory: Path) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await send(client, used("c", 1))

        answer = await ask(client, "GET", "/v1/invoices/preview?customer_id=c")

        assert answer["items"] == []
        assert "no default plan bills this customer" in answer["note"]

    run(directory, scenario)
