"""What the official package does by itself, lets through, and shows: retries, limits, history."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import dodopayments
import pytest
from dodopayments import AsyncDodoPayments, DodoPayments

from streamgauge.server.catalog import Catalog
from streamgauge.server.layout import CATALOG

NUMBERS = count()
TERABYTE = 10**12


def fresh(prefix: str) -> str:
    return f"{prefix}_habits_{next(NUMBERS)}"


def event(name: str, customer_id: str, **changes: Any) -> dict[str, Any]:
    usual = {"event_id": fresh("e"), "customer_id": customer_id, "event_name": name}
    return usual | {"metadata": {"bytes": 1000}} | changes


def make_meter(client: DodoPayments, event_name: str) -> Any:
    return client.meters.create(
        name=fresh("meter"),
        event_name=event_name,
        measurement_unit="byte",
        aggregation={"type": "sum", "key": "bytes"},
    )


def make_product(client: DodoPayments, *meters: dict[str, Any], **price: Any) -> Any:
    usual: dict[str, Any] = {
        "type": "usage_based_price",
        "currency": "USD",
        "fixed_price": 0,
        "payment_frequency_count": 1,
        "payment_frequency_interval": "Month",
        "subscription_period_count": 10,
        "subscription_period_interval": "Year",
    }
    whole: Any = usual | {"meters": list(meters)} | price
    return client.products.create(name="Streaming", tax_category="saas", price=whole)


def subscribe(client: DodoPayments, customer_id: str, product_id: str, **more: Any) -> str:
    with pytest.deprecated_call():
        made = client.subscriptions.create(
            billing={"country": "US"},
            customer={"customer_id": customer_id},
            product_id=product_id,
            quantity=1,
            extra_body=more,
        )
    return made.subscription_id


def listed(client: DodoPayments, name: str) -> list[str]:
    return [item.event_id for item in client.usage_events.list(event_name=name).items]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (lambda name, who: [], "events"),
        (lambda name, who: [event(name, who) for _ in range(1001)], "1000"),
        (lambda name, who: [event(name, who, event_id="twice")] * 2, "twice"),
        (lambda name, who: [event(name, who, timestamp=date(2026, 1, 1))], "timestamp"),
        (lambda name, who: [event(name, who), event(name, who, event_id=5)], "event_id"),
        (
            lambda name, who: [event(name, who, metadata={f"k{n}": n for n in range(51)})],
            "50",
        ),
        (lambda name, who: [event(name, who, metadata={"k" * 101: 1})], "100"),
        (lambda name, who: [event(name, who, metadata={"k": "v" * 501})], "500"),
        (
            lambda name, who: [
                event(name, who, timestamp=datetime.now(UTC) + timedelta(minutes=6))
            ],
            "timestamp",
        ),
    ],
)
def test_what_the_package_lets_through_is_refused_whole_by_a_4xx(
    client: DodoPayments, customer_id: str, events: Any, said: str
) -> None:
    name = fresh("stream")
    with pytest.raises((dodopayments.BadRequestError, dodopayments.UnprocessableEntityError)) as no:
        client.usage_events.ingest(events=events(name, customer_id))
    assert said in json.dumps(no.value.body)
    assert listed(client, name) == []


def test_values_at_every_limit_are_taken(client: DodoPayments, customer_id: str) -> None:
    name = fresh("stream")
    metadata: Any = {f"{n:0100}": "v" * 500 for n in range(50)}
    sent = event(name, customer_id, metadata=metadata)
    none: Any = event(name, customer_id, metadata=None, timestamp=None)
    nobody: Any = event(name, "nobody knows", metadata={"n": -0.0, "u": "Zoë 🎬"})
    assert client.usage_events.ingest(events=[sent, none, nobody]).ingested_count == 3
    assert client.usage_events.retrieve(sent["event_id"]).metadata == metadata
    assert client.usage_events.retrieve(nobody["event_id"]).metadata == nobody["metadata"]
    assert len(listed(client, name)) == 3


def test_a_usage_history_of_months_is_newest_first_with_the_running_one_and_exact(
    client: DodoPayments, customer_id: str
) -> None:
    name, other = fresh("stream"), fresh("other")
    meter, second = make_meter(client, name), make_meter(client, other)
    product = make_product(
        client,
        {"meter_id": meter.id, "price_per_unit": "0.000000005", "free_threshold": 10 * TERABYTE},
        {"meter_id": second.id, "price_per_unit": "1"},
    )
    start = (datetime.now(UTC) - timedelta(days=75)).replace(second=0, microsecond=0)
    subscription_id = subscribe(
        client, customer_id, product.product_id, start_date=start.isoformat()
    )
    sent: list[Any] = [
        event(name, customer_id, timestamp=start + timedelta(days=days), metadata={"bytes": size})
        for days, size in ((1, 2**63), (2, 2**63), (40, 3 * TERABYTE), (74, 12 * TERABYTE))
    ]
    client.usage_events.ingest(events=sent)
    ask = client.subscriptions.retrieve_usage_history
    periods = ask(subscription_id).items
    assert len(periods) == 3
    starts = [period.start_date for period in periods]
    assert starts == sorted(starts, reverse=True)
    assert starts[-1] == start
    assert periods[0].start_date <= datetime.now(UTC) < periods[0].end_date
    assert [later.start_date for later in periods[:-1]] == [each.end_date for each in periods[1:]]
    lines = [next(m for m in period.meters if m.id == meter.id) for period in periods]
    assert [line.consumed_units for line in lines] == [
        str(12 * TERABYTE),
        str(3 * TERABYTE),
        str(2**64),
    ]
    assert [line.chargeable_units for line in lines] == [
        str(2 * TERABYTE),
        "0",
        str(2**64 - 10 * TERABYTE),
    ]
    assert [line.free_threshold for line in lines] == [10 * TERABYTE] * 3
    assert lines[0].total_price == 10_000
    one = ask(subscription_id, meter_id=second.id).items
    assert {line.id for period in one for line in period.meters} == {second.id}
    middle = ask(
        subscription_id,
        start_date=periods[1].start_date,
        end_date=periods[1].start_date + timedelta(days=1),
    ).items
    assert periods[1].start_date in [period.start_date for period in middle]
    assert periods[0].start_date not in [period.start_date for period in middle]
    page = ask(subscription_id, page_size=1, page_number=2).items
    assert [period.start_date for period in page] == [start]


def test_the_walk_of_the_package_skips_page_one_and_a_large_page_skips_nothing(
    client: DodoPayments,
) -> None:
    made = {make_meter(client, fresh("walk")).id for _ in range(21)}
    everything = {meter.id for meter in client.meters.list(page_size=100)}
    assert made <= everything
    numbered: set[str] = set()
    for number in count():
        page = client.meters.list(page_number=number).items
        if not page:
            break
        numbered |= {meter.id for meter in page}
    assert numbered >= made
    walked = {meter.id for meter in client.meters.list()}
    skipped = {meter.id for meter in client.meters.list(page_number=1).items}
    assert walked.isdisjoint(skipped)
    assert walked | skipped == numbered


def test_prices_that_dodo_would_refuse_are_refused_with_its_codes(
    client: DodoPayments,
) -> None:
    meter = make_meter(client, fresh("stream"))
    for price in ("0", "-1", "123456", "0.0000000000001", "x"):
        with pytest.raises(dodopayments.BadRequestError):
            make_product(client, {"meter_id": meter.id, "price_per_unit": price})
    line = {"meter_id": meter.id, "price_per_unit": "1"}
    with pytest.raises(dodopayments.BadRequestError) as twice:
        make_product(client, line, line)
    assert "DUPLICATE_METER_IDS_IN_REQUEST" in json.dumps(twice.value.body)
    for name in ("discount", "discount_bps"):
        made = make_product(client, line, **{name: 0})
        assert made.price.meters[0].price_per_unit == "1"


def test_the_raw_and_the_streamed_answer_have_the_type_of_json(
    client: DodoPayments, customer_id: str
) -> None:
    sent: Any = event(fresh("stream"), customer_id)
    raw = client.usage_events.with_raw_response.ingest(events=[sent])
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().ingested_count == 1
    with client.meters.with_streaming_response.list() as streamed:
        assert streamed.headers["content-type"] == "application/json"
        assert "items" in json.loads(streamed.read())


def test_a_read_only_key_is_told_so_once(server: Any) -> None:
    catalog = Catalog(server.data_dir / CATALOG)
    token = catalog.keys.create(mode="test_mode", name="r", scope="read").token
    catalog.close()
    with DodoPayments(bearer_token=token, base_url=server.url, max_retries=5) as reader:
        assert reader.meters.list(page_size=1).items is not None
        with pytest.raises(dodopayments.PermissionDeniedError) as raised:
            make_meter(reader, "x")
    assert raised.value.request.headers["x-stainless-retry-count"] == "0"


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A server that takes three requests of a key in a second: (url, token)."""
    command = [sys.executable, "-m", "streamgauge.server", "--port", "0", "--data-dir"]
    with subprocess.Popen(
        [*command, str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        env=os.environ | {"STREAMGAUGE_RATE_LIMIT_PER_SECOND": "3"},
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        catalog = Catalog(tmp_path / "data" / CATALOG)
        token = catalog.keys.create(mode="test_mode", name="limited").token
        catalog.close()
        yield url, token
        process.send_signal(signal.SIGTERM)


def test_the_package_waits_as_it_is_told_and_loses_nothing(limited: tuple[str, str]) -> None:
    url, token = limited

    async def ingest_eight() -> list[int]:
        async with AsyncDodoPayments(bearer_token=token, base_url=url, max_retries=20) as client:
            ones: list[Any] = [event("limited", "cus") for _ in range(8)]
            answers = await asyncio.gather(
                *(client.usage_events.ingest(events=[one]) for one in ones)
            )
            return [answer.ingested_count for answer in answers]

    assert asyncio.run(ingest_eight()) == [1] * 8
    with DodoPayments(bearer_token=token, base_url=url, max_retries=20) as client:
        assert len(listed(client, "limited")) == 8

    def ask_at_once() -> None:
        with DodoPayments(bearer_token=token, base_url=url, max_retries=0) as impatient:
            for _ in range(200):
                impatient.meters.list()

    with pytest.raises(dodopayments.RateLimitError) as raised:
        ask_at_once()
    assert raised.value.response.headers["retry-after"] == "1"
    assert raised.value.response.headers["x-ratelimit-limit"] == "3"
