"""One sum above 2^64 with 12 decimal places: as sent, over the API, by commands, on an invoice."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import httpx
import pytest

from streamgauge.cli.root import run

# None of them is the same as a double; together neither a 64-bit integer nor a double holds them.
SENT = (
    "18446744073709551615",
    "18446744073709551616",
    "123456789012345678901234567890",
    "0.000000000001",
    "98765432109876543210.123456789012",
)
TOTAL = "123456789148004599158530214331.123456789013"
FREE = 2**64 + 1
PRICE = "0.000000000007"
CHARGEABLE = "123456789129557855084820662714.123456789013"
EXACT = "864197523906904985.593744638998864197523091"
ROUNDED = 864197523906904986
JANUARY = "2026-01-03T00:00:00Z"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    status = run(arguments)
    words = capsys.readouterr()
    assert status == 0, words.err
    return words.out


def decimals(text: str) -> Any:
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


@pytest.fixture
def api(server: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    at = ("--data-dir", str(server.data_dir))
    key = printed(capsys, "keys", "create", "--mode", "test_mode", "--name", "exact", *at).strip()
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=server.url, headers=headers) as client:
        yield client


@pytest.fixture
def subscription_id(api: httpx.Client) -> str:
    """Have a meter priced and subscribed to since January, and its usage sent as it is written."""

    def make(path: str, body: dict[str, Any]) -> Any:
        return api.post(path, json=body).raise_for_status().json()

    who = {"customer_id": "exact_sums", "email": "exact@example.com", "name": "Exact"}
    make("/customers", who)
    how = {"type": "sum", "key": "bytes"}
    meter = {"name": "exact_sums", "event_name": "exact_sums", "measurement_unit": "byte"}
    meter_id = make("/meters", meter | {"aggregation": how})["id"]
    price = {
        "type": "usage_based_price",
        "currency": "USD",
        "fixed_price": 0,
        "payment_frequency_count": 1,
        "payment_frequency_interval": "Month",
        "subscription_period_count": 10,
        "subscription_period_interval": "Year",
        "meters": [{"meter_id": meter_id, "price_per_unit": PRICE, "free_threshold": FREE}],
    }
    product = {"name": "Exact sums", "tax_category": "saas", "price": price}
    subscription = {
        "billing": {"country": "US"},
        "customer": {"customer_id": "exact_sums"},
        "product_id": make("/products", product)["product_id"],
        "quantity": 1,
        "start_date": "2026-01-01T00:00:00Z",
    }
    # By hand, since a JSON library would write doubles.
    events = ",".join(
        f'{{"event_id":"exact_sums_{number}","customer_id":"exact_sums","event_name":"exact_sums",'
        f'"timestamp":"{JANUARY}","metadata":{{"bytes":{text}}}}}'
        for number, text in enumerate(SENT)
    )
    api.post("/events/ingest", content=f'{{"events":[{events}]}}').raise_for_status()
    made: str = make("/subscriptions", subscription)["subscription_id"]
    return made


def test_a_sum_no_machine_word_holds_is_exact_by_api_command_and_invoice(
    server: Any, api: httpx.Client, subscription_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Fraction(TOTAL) == sum(map(Fraction, SENT))
    assert Fraction(CHARGEABLE) == Fraction(TOTAL) - FREE
    assert Fraction(EXACT) == Fraction(CHARGEABLE) * Fraction(PRICE)

    at = ("--data-dir", str(server.data_dir))
    january = ("--from", "2026-01-01", "--to", "2026-02-01")
    usage = ("usage", "query", "exact_sums", "--customer", "exact_sums", *january, *at)
    listed = ("events", "list", "--event-name", "exact_sums", *at)
    finalise = ("invoices", "finalise", "exact_sums", "--at", JANUARY, *at)

    for number, text in enumerate(SENT):
        assert f'"metadata":{{"bytes":{text}}}' in api.get(f"/events/exact_sums_{number}").text
    periods = api.get(f"/subscriptions/{subscription_id}/usage-history?page_size=100").json()
    (line,) = periods["items"][-1]["meters"]
    assert (line["consumed_units"], line["chargeable_units"]) == (TOTAL, CHARGEABLE)
    assert (line["price_per_unit"], line["total_price"]) == (PRICE, ROUNDED)

    with localcontext(prec=60):
        events = decimals(printed(capsys, *listed, "-o", "json"))
        assert {each["metadata"]["bytes"] for each in events} == set(map(Decimal, SENT))
        (item,) = decimals(printed(capsys, *usage, "-o", "json"))["items"]
        assert item["quantity"] == Decimal(TOTAL)
    (row,) = csv.DictReader(io.StringIO(printed(capsys, *usage, "-o", "csv")))
    assert row["quantity"] == TOTAL

    with localcontext(prec=60):
        # The server has a default plan too, of other tests.
        finalised = decimals(printed(capsys, *finalise, "-o", "json"))["items"]
        (made,) = [one for one in finalised if one["subscription_id"] == subscription_id]
        (line,) = made["lines"]
        assert line["consumed_units"] == Decimal(TOTAL)
        assert line["chargeable_units"] == Decimal(CHARGEABLE)
        assert (line["exact_amount"], line["amount"], made["total"]) == (EXACT, ROUNDED, ROUNDED)
    kept = api.get(f"/v1/invoices/{made['id']}").json()
    assert kept["lines"][0]["consumed_units"] == TOTAL
    assert (kept["lines"][0]["exact_amount"], kept["total"]) == (EXACT, ROUNDED)
    explained = api.get(f"/v1/invoices/{made['id']}/lines/1/events").json()
    assert explained["units"] == TOTAL
    assert sorted(each["units"] for each in explained["items"]) == sorted(SENT)
    text = "".join(printed(capsys, "invoices", "explain", made["id"], *at).split())
    assert f"{EXACT}minorunits" in text
