"""The official Python package `dodopayments`, unmodified, against a running server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import dodopayments
import pytest
from dodopayments import AsyncDodoPayments, DodoPayments

NUMBERS = count()


def fresh(prefix: str) -> str:
    return f"{prefix}_{next(NUMBERS)}"


def event(name: str, customer_id: str, bytes: int = 1000) -> dict[str, Any]:
    return {
        "event_id": fresh("py"),
        "customer_id": customer_id,
        "event_name": name,
        "metadata": {"bytes": bytes, "quality": "1080p", "live": True},
    }


def make_meter(client: DodoPayments, event_name: str, **options: Any) -> Any:
    return client.meters.create(
        name=fresh("meter"),
        event_name=event_name,
        measurement_unit="byte",
        aggregation={"type": "sum", "key": "bytes"},
        **options,
    )


def usage(client: DodoPayments, meter_id: str, customer_id: str) -> Any:
    """Our own question, since Dodo has none for the running period; through their client."""
    options = {"params": {"meter_id": meter_id, "customer_id": customer_id}}
    return client.get("/v1/usage", cast_to=object, options=options)


def test_one_event_is_ingested_listed_and_got(client: DodoPayments, customer_id: str) -> None:
    name, sent_at = fresh("stream"), datetime.now(UTC)
    sent = event(name, customer_id) | {"timestamp": sent_at}
    assert client.usage_events.ingest(events=[sent]).ingested_count == 1
    found = client.usage_events.retrieve(sent["event_id"])
    assert (found.event_id, found.customer_id, found.event_name) == (
        sent["event_id"],
        customer_id,
        name,
    )
    assert found.timestamp == sent_at
    assert found.metadata == sent["metadata"]
    assert [item.event_id for item in client.usage_events.list(event_name=name)] == [
        sent["event_id"]
    ]


def test_a_thousand_events_are_ingested_in_one_call(client: DodoPayments, customer_id: str) -> None:
    name = fresh("stream")
    meter = make_meter(client, name)
    events = [event(name, customer_id, bytes=n) for n in range(1000)]
    assert client.usage_events.ingest(events=events).ingested_count == 1000
    answer = usage(client, meter.id, customer_id)
    assert (answer["quantity"], answer["events"]) == (str(sum(range(1000))), 1000)


def test_a_repeat_of_an_id_is_accepted_and_billed_once(
    client: DodoPayments, customer_id: str
) -> None:
    name = fresh("stream")
    meter = make_meter(client, name)
    sent = event(name, customer_id, bytes=7)
    for _ in range(3):
        assert client.usage_events.ingest(events=[sent]).ingested_count == 1
    other_payload = sent | {"metadata": {"bytes": 1_000_000}}
    client.usage_events.ingest(events=[other_payload])
    assert usage(client, meter.id, customer_id)["quantity"] == "7"


def test_the_async_client_does_the_same(server: Any, customer_id: str) -> None:
    name, large = fresh("stream"), fresh("stream")
    events = [event(name, customer_id) for _ in range(3)]
    thousand = [event(large, customer_id) for _ in range(1000)]

    async def run() -> None:
        async with AsyncDodoPayments(
            bearer_token=server.token, base_url=server.url, _strict_response_validation=True
        ) as client:
            ingest = client.usage_events.ingest
            answers = await asyncio.gather(*(ingest(events=[one]) for one in [*events, events[0]]))
            assert [answer.ingested_count for answer in answers] == [1, 1, 1, 1]
            assert (await ingest(events=thousand)).ingested_count == 1000
            listed = [item.event_id async for item in client.usage_events.list(event_name=name)]
            assert sorted(listed) == sorted(sent["event_id"] for sent in events)
            one = await client.usage_events.retrieve(thousand[999]["event_id"])
            assert (one.customer_id, one.event_name) == (customer_id, large)

    asyncio.run(run())


def test_an_event_id_may_hold_a_slash(client: DodoPayments, customer_id: str) -> None:
    sent = event(fresh("stream"), customer_id) | {"event_id": fresh("a/b ?c#%2F")}
    client.usage_events.ingest(events=[sent])
    assert client.usage_events.retrieve(sent["event_id"]).event_id == sent["event_id"]


@pytest.mark.parametrize(
    "form",
    [
        "aware",
        "naive",
        "offset",
    ],
)
def test_every_form_of_a_timestamp_is_taken(
    client: DodoPayments, customer_id: str, form: str
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    from_offset = now.astimezone(datetime.strptime("+0530", "%z").tzinfo)
    sent_at = {"aware": now, "naive": now.replace(tzinfo=None), "offset": from_offset}[form]
    sent = event(fresh("stream"), customer_id) | {"timestamp": sent_at}
    client.usage_events.ingest(events=[sent])
    assert client.usage_events.retrieve(sent["event_id"]).timestamp == now


def test_events_are_listed_by_customer_meter_and_time(
    client: DodoPayments, customer_id: str
) -> None:
    name, now = fresh("stream"), datetime.now(UTC).replace(microsecond=0)
    meter = make_meter(
        client,
        name,
        filter={
            "conjunction": "and",
            "clauses": [{"key": "quality", "operator": "equals", "value": "1080p"}],
        },
    )
    matching = event(name, customer_id) | {"timestamp": now}
    other = event(name, customer_id) | {"metadata": {"bytes": 1}, "timestamp": now}
    client.usage_events.ingest(events=[matching, other])
    by_meter = client.usage_events.list(meter_id=meter.id, customer_id=customer_id)
    assert [item.event_id for item in by_meter.items] == [matching["event_id"]]
    later = client.usage_events.list(event_name=name, start=now + timedelta(seconds=1))
    assert later.items == []


def test_pagination_as_the_sdk_does_it(client: DodoPayments, customer_id: str) -> None:
    name = fresh("stream")
    events = [event(name, customer_id) for _ in range(25)]
    client.usage_events.ingest(events=events)
    ids = {sent["event_id"] for sent in events}
    pages = [
        {item.event_id for item in client.usage_events.list(event_name=name, page_number=n).items}
        for n in range(4)
    ]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert set().union(*pages) == ids
    from_one = {item.event_id for item in client.usage_events.list(event_name=name, page_number=1)}
    assert from_one == pages[1] | pages[2]
    all_in_one = {item.event_id for item in client.usage_events.list(event_name=name, page_size=50)}
    assert all_in_one == ids


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"event_id": ""}, dodopayments.BadRequestError),
        ({"metadata": {"bytes": {"nested": 1}}}, dodopayments.BadRequestError),
        ({"timestamp": "yesterday"}, dodopayments.BadRequestError),
    ],
)
def test_a_bad_event_raises_the_sdks_own_error(
    client: DodoPayments, customer_id: str, change: dict[str, Any], error: type[Exception]
) -> None:
    name = fresh("stream")
    good, bad = event(name, customer_id), event(name, customer_id) | change
    with pytest.raises(error) as raised:
        client.usage_events.ingest(events=[good, bad])
    assert isinstance(raised.value, dodopayments.APIStatusError)
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["errors"][0]["index"] == 1
    assert client.usage_events.list(event_name=name).items == []


def test_what_is_wrong_raises_the_sdks_own_errors(server: Any, client: DodoPayments) -> None:
    with pytest.raises(dodopayments.NotFoundError):
        client.meters.retrieve("mtr_none")
    with pytest.raises(dodopayments.UnprocessableEntityError):
        client.post("/meters", cast_to=object, body={"name": 5})
    with pytest.raises(dodopayments.AuthenticationError):
        client.with_options(max_retries=0).copy(bearer_token="sg_test_no").meters.list()


def test_what_is_not_here_yet_is_not_retried(server: Any) -> None:
    with DodoPayments(bearer_token=server.token, base_url=server.url, max_retries=5) as client:
        with pytest.raises(dodopayments.InternalServerError) as raised:
            client.customers.wallets.list("cus_x")
        assert raised.value.status_code == 501
        assert raised.value.request.headers["x-stainless-retry-count"] == "0"
