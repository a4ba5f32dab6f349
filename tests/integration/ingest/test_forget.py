"""A forgotten customer: nothing personal is left in any file, and every figure is as before."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from streamgauge.core.disk import OsDirectory
from streamgauge.server.catalog import Catalog
from streamgauge.server.ingest.quarantine import Quarantine
from streamgauge.server.layout import CATALOG

SECRETS = ("ann@example.com", "Ann Archer", "12 Elm Street", "+15550100", "10.9.8.7", "vat-77")
MONTH = {"start": "2026-02-01T00:00:00Z", "end": "2026-03-01T00:00:00Z"}
PLAN = {
    "meter": {
        "name": "hd",
        "event_name": "stream",
        "measurement_unit": "byte",
        "aggregation": {"type": "sum", "key": "bytes"},
        "filter": {
            "conjunction": "and",
            "clauses": [{"key": "quality", "operator": "equals", "value": "hd"}],
        },
    },
    "currency": "USD",
    "price_per_unit": "5",
    "price_unit": "GB",
}
ANN = {
    "customer_id": "cus_1",
    "name": "Ann Archer",
    "email": "ann@example.com",
    "phone_number": "+15550100",
    "metadata": {"address": "12 Elm Street"},
}


def used(id: str, customer: str = "cus_1", **metadata: Any) -> dict[str, Any]:
    return {
        "event_id": id,
        "customer_id": customer,
        "event_name": "stream",
        "timestamp": "2026-02-03T10:00:00Z",
        "metadata": {"bytes": 10**9, "quality": "hd", **metadata},
    }


def send(client: httpx.Client, *events: dict[str, Any]) -> list[str]:
    answer = client.post("/events/ingest", json={"events": events}).raise_for_status()
    return [each["result"] for each in answer.json()["results"]]


def bill(client: httpx.Client) -> Any:
    meter = client.get("/meters").json()["items"][0]["id"]
    query = {"meter_id": meter, "group_by": "customer_id", **MONTH}
    usage = client.get("/v1/usage", params=query).raise_for_status().json()
    (invoice,) = client.get("/v1/invoices", params={"customer_id": "cus_1"}).json()["items"]
    path = f"/v1/invoices/{invoice['id']}"
    explained = client.get(f"{path}/lines/1/events").raise_for_status().json()
    units = [(each["event_id"], each["units"]) for each in explained["items"]]
    return usage, client.get(path).json(), explained["units"], units


def known(server: Any, client: httpx.Client) -> None:
    """Give a server a customer with everything that is personal, and a bill."""
    client.post("/v1/plans", json=PLAN).raise_for_status()
    client.post("/customers", json=ANN).raise_for_status()
    send(client, used("a", address="10.9.8.7"), used("b", quality="sd", mail="ann@example.com"))
    send(client, used("c", customer="cus_2", address="10.1.1.1"), used("d", address="10.9.8.7"))
    body = {"customer_id": "cus_1", "at": "2026-02-10T00:00:00Z"}
    client.post("/v1/invoices/finalise", json=body).raise_for_status()
    kept = Quarantine(OsDirectory(server.data_dir / "quarantine"))
    row = b'{"business_id":"%b","mode":"test_mode","event_id":"q","customer_id":"%b",'
    row += b'"event_name":"stream","metadata":{"bytes":1,"address":"%b"}}'
    business = client.get("/customers/cus_1").json()["business_id"].encode()
    rows = [row % (business, b"cus_1", b"10.9.8.7"), row % (business, b"cus_2", b"10.1.1.9")]
    kept.set_aside(999, 7, rows, "a test")


def holds(server: Any, text: str) -> list[str]:
    """Return the files of the log, the quarantine and the catalog that hold a text."""
    files = [*(server.data_dir / "log").rglob("*"), *(server.data_dir / "quarantine").glob("*")]
    files += server.data_dir.glob(f"{CATALOG}*")
    return [path.name for path in files if path.is_file() and text.encode() in path.read_bytes()]


def subscribe(server: Any) -> None:
    """Put a subscription of the customer into the catalog, as its table has it."""
    catalog = Catalog(server.data_dir / CATALOG)
    product = catalog.products.list("test_mode")[0].product_id
    with catalog.database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO subscriptions (business_id, mode, subscription_id, customer_id, "
            "product_id, quantity, price, billing, metadata, tax_id, started_at, expires_at, "
            f"created_at) SELECT business_id, mode, 'sub_1', 'cus_1', '{product}', 1, price, "
            """'{"country":"US","street":"12 Elm Street"}', '{"contact":"Ann Archer"}', """
            f"'vat-77', 0, 60000000, 0 FROM products WHERE product_id = '{product}'"
        )
    catalog.close()


@pytest.fixture
def server(new_server: Any) -> Any:
    running = new_server().start()
    with running.client() as client:
        known(running, client)
    subscribe(running)
    # The quarantine is read at the start.
    assert running.stop() == 0
    assert all(holds(running, secret) for secret in SECRETS)
    return running


def check_forgotten(server: Any, before: Any) -> None:
    with server.client() as client:
        assert bill(client) == before
        events = {e["event_id"]: e["metadata"] for e in client.get("/events").json()["items"]}
        mark = {"streamgauge_forgotten": True}
        assert events["a"] == events["d"] == {"bytes": 10**9, "quality": "hd"} | mark
        assert events["b"] == {"bytes": 10**9, "quality": "sd"} | mark
        assert events["c"] == {"bytes": 10**9, "quality": "hd", "address": "10.1.1.1"}
        customer = client.get("/customers/cus_1").json()
        assert (customer["name"], customer["phone_number"]) == ("Forgotten customer", None)
        subscription = client.get("/subscriptions/sub_1").json()
        assert subscription["billing"]["country"] == "US"
        assert subscription["billing"]["street"] is None
        assert send(client, used("a", address="10.9.8.7")) == ["duplicate"]
    assert {secret: holds(server, secret) for secret in SECRETS} == {each: [] for each in SECRETS}
    assert holds(server, "10.1.1.9") == ["rows-999-7.ndjson"]


def test_nothing_personal_is_left_and_every_figure_stays(server: Any) -> None:
    server.start()
    with server.client() as client:
        before = bill(client)
        answer = client.post("/v1/customers/cus_1/forget").raise_for_status().json()
        assert answer["done_at"] is not None
        assert answer["kept"] == {"stream": ["bytes", "quality"]}
        assert answer["by_hand"] == []
    check_forgotten(server, before)
    with server.client() as client:
        again = client.post("/v1/customers/cus_1/forget").raise_for_status().json()
        assert again["kept"] == answer["kept"]
        refused = client.patch("/customers/cus_1", json={"name": "Ann Archer"})
        assert (refused.status_code, "was forgotten" in refused.json()["message"]) == (409, True)
        assert client.post("/v1/customers/nobody/forget").status_code == 404
        # Usage that comes later is billed, and kept as it is sent.
        assert send(client, used("later", address="10.0.0.5")) == ["stored"]
        assert client.get("/events/later").json()["metadata"]["address"] == "10.0.0.5"
    server.kill()
    (server.data_dir / "log" / "inserted").unlink()
    server.start()
    check_forgotten(server, bill_after(server, before))


def bill_after(server: Any, before: Any) -> Any:
    """Return the bill as it has to be with one more event after the cut."""
    with server.client() as client:
        usage, invoice, units, items = bill(client)
    assert (invoice["lines"], units, items) == (before[1]["lines"], before[2], before[3])
    assert [late["events"] for late in invoice["unbilled_late"]] == [1]
    return usage, invoice, units, items


def test_what_was_interrupted_goes_on_at_the_next_start(server: Any) -> None:
    server.start()
    with server.client() as client:
        before = bill(client)
    server.kill()
    catalog = Catalog(server.data_dir / CATALOG)
    catalog.forgotten.begin("test_mode", "cus_1")
    catalog.close()
    server.start()
    end = time.monotonic() + 30
    catalog = Catalog(server.data_dir / CATALOG)
    while catalog.forgotten.unfinished():
        assert time.monotonic() < end
        time.sleep(0.1)
    catalog.close()
    check_forgotten(server, before)
