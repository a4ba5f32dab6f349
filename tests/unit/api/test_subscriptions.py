from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest


def test_a_subscription_starts_at_its_minute(
    api: Any, customer: dict[str, Any], product: dict[str, Any]
) -> None:
    start = (datetime.now(UTC) - timedelta(days=40)).replace(second=30, microsecond=5)
    body = {
        "billing": {"country": "US"},
        "customer": {"customer_id": customer["customer_id"]},
        "product_id": product["product_id"],
        "quantity": 1,
        "start_date": start.isoformat(),
    }
    id = api.call("POST", "/subscriptions", body)["subscription_id"]
    found = api.call("GET", f"/subscriptions/{id}")
    assert found["start_date"] == start.strftime("%Y-%m-%dT%H:%M:00Z")
    assert found["start_date"] < found["previous_billing_date"] < found["next_billing_date"]
    assert found["status"] == "active"
    (charge,) = found["meters"]
    assert (charge["free_threshold"], charge["currency"]) == (10, "USD")


def test_a_subscription_keeps_its_price_when_the_product_changes(
    api: Any,
    price: Any,
    subscription: dict[str, Any],
    product: dict[str, Any],
    meter: dict[str, Any],
) -> None:
    path = f"/products/{product['product_id']}"
    api.call("PATCH", path, {"price": price(meter["id"], price_per_unit="7")})
    assert api.call("GET", path)["price"]["meters"][0]["price_per_unit"] == "7"
    kept = api.call("GET", f"/subscriptions/{subscription['subscription_id']}")
    assert kept["meters"][0]["price_per_unit"] == "5"


def test_a_subscription_by_address_takes_or_makes_the_customer(
    api: Any, customer: dict[str, Any], product: dict[str, Any]
) -> None:
    body = {
        "billing": {"country": "US"},
        "product_id": product["product_id"],
        "quantity": 1,
    }
    known = api.call("POST", "/subscriptions", body | {"customer": {"email": customer["email"]}})
    assert known["customer"]["customer_id"] == customer["customer_id"]
    new = api.call("POST", "/subscriptions", body | {"customer": {"email": "new@example.com"}})
    assert new["customer"]["name"] == "new@example.com"
    assert len(api.call("GET", "/customers")["items"]) == 2


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"quantity": 2}, 400, "INVALID_QUANTITY"),
        ({"quantity": 0}, 400, "INVALID_QUANTITY"),
        ({"billing": {"country": "usa"}}, 400, "INVALID_REQUEST_PARAMETERS"),
        ({"customer": {}}, 400, "INVALID_REQUEST_PARAMETERS"),
        ({"customer": {"customer_id": "cus_none"}}, 404, "NOT_FOUND"),
        ({"product_id": "pdt_none"}, 404, "NOT_FOUND"),
        ({"addons": [{"addon_id": "a"}]}, 400, "ADDONS_IN_USAGE_BASED_BILLING_NOT_SUPPORTED"),
        ({"on_demand": {"x": 1}}, 400, "ON_DEMAND_USAGE_BASED_BILLING_NOT_SUPPORTED"),
        ({"discount_code": "HALF"}, 501, "NOT_IMPLEMENTED"),
        ({"trial_period_days": 7}, 501, "NOT_IMPLEMENTED"),
        ({"start_date": "2014-12-31T23:59:59Z"}, 400, "INVALID_REQUEST_PARAMETERS"),
        ({"start_date": "2099-01-01T00:00:00Z"}, 400, "INVALID_REQUEST_PARAMETERS"),
        ({"start_date": "0001-01-01T00:00:00+23:59"}, 400, "INVALID_REQUEST_PARAMETERS"),
        ({"start_date": "2026-01-01"}, 422, "INVALID_REQUEST_BODY"),
        ({"tax_id": "x" * 256}, 400, "INVALID_REQUEST_PARAMETERS"),
    ],
)
def test_a_bad_subscription_is_refused_and_not_made(
    api: Any,
    customer: dict[str, Any],
    product: dict[str, Any],
    change: dict[str, Any],
    status: int,
    code: str,
) -> None:
    body = {
        "billing": {"country": "US"},
        "customer": {"customer_id": customer["customer_id"]},
        "product_id": product["product_id"],
        "quantity": 1,
    }
    assert api.refused("POST", "/subscriptions", body | change, status=status)["code"] == code
    assert api.call("GET", "/subscriptions") == {"items": []}
    assert len(api.call("GET", "/customers")["items"]) == 1


def test_a_product_off_sale_gets_no_subscription(
    api: Any, customer: dict[str, Any], product: dict[str, Any]
) -> None:
    api.call("DELETE", f"/products/{product['product_id']}")
    body = {
        "billing": {"country": "US"},
        "customer": {"customer_id": customer["customer_id"]},
        "product_id": product["product_id"],
        "quantity": 1,
    }
    refused = api.refused("POST", "/subscriptions", body, status=400)
    assert refused["code"] == "PRODUCT_IS_DELETED"


def test_a_subscription_is_cancelled_at_the_end_of_its_period_or_at_once(
    api: Any, subscription: dict[str, Any]
) -> None:
    path = f"/subscriptions/{subscription['subscription_id']}"
    planned = api.call("PATCH", path, {"cancel_at_next_billing_date": True})
    assert (planned["status"], planned["cancel_at_next_billing_date"]) == ("active", True)
    kept = api.call("PATCH", path, {"cancel_at_next_billing_date": False})
    assert (kept["cancelled_at"], kept["cancel_at_next_billing_date"]) == (None, False)
    gone = api.call("PATCH", path, {"status": "cancelled", "cancellation_comment": "bye"})
    assert (gone["status"], gone["cancellation_comment"]) == ("cancelled", "bye")
    assert api.refused("PATCH", path, {"status": "active"}, status=409)
    assert api.call("GET", "/subscriptions?status=active") == {"items": []}
    assert len(api.call("GET", "/subscriptions?status=cancelled")["items"]) == 1


def test_a_cancelled_subscription_does_not_bill_past_its_end(
    api: Any, parts: Any, subscription: dict[str, Any]
) -> None:
    id = subscription["subscription_id"]
    api.call("PATCH", f"/subscriptions/{id}", {"cancel_at_next_billing_date": True})
    kept = parts.catalog.subscriptions.get("test_mode", id)
    shown = api.call("GET", f"/subscriptions/{id}")
    assert kept.ends_at.strftime("%Y-%m-%dT%H:%M:%SZ") == shown["next_billing_date"]


def test_subscriptions_are_listed_by_customer_and_product(
    api: Any, subscription: dict[str, Any], customer: dict[str, Any]
) -> None:
    def count(query: str) -> int:
        return len(api.call("GET", f"/subscriptions?{query}")["items"])

    assert count(f"customer_id={customer['customer_id']}&status=active") == 1
    assert count("customer_id=cus_other") == 0
    assert count("product_id=pdt_other") == 0
    assert count("status=paused") == 0
    assert count("brand_id=brn_other") == 0
    assert count(f"brand_id={api.call('GET', '/subscriptions')['items'][0]['brand_id']}") == 1
