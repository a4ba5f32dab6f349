from __future__ import annotations

from typing import Any

import pytest


def test_a_product_names_its_meters(
    api: Any, product: dict[str, Any], meter: dict[str, Any]
) -> None:
    assert product["product_id"].startswith("pdt_")
    (charge,) = product["price"]["meters"]
    assert charge == {
        "meter_id": meter["id"],
        "price_per_unit": "5",
        "free_threshold": 10,
        "name": "Bytes",
        "measurement_unit": "byte",
    }
    assert api.call("GET", f"/products/{product['product_id']}") == product
    (item,) = api.call("GET", "/products")["items"]
    assert (item["price"], item["price_detail"]) == (500, product["price"])


def test_a_threshold_above_32_bits_and_a_price_unit_are_kept(
    api: Any, price: Any, meter: dict[str, Any]
) -> None:
    terms = {"free_threshold": 10**13, "price_unit": "GB", "price_per_unit": "0.000000000001"}
    body = {"name": "P", "tax_category": "saas", "price": price(meter["id"], **terms)}
    (charge,) = api.call("POST", "/products", body)["price"]["meters"]
    assert {name: charge[name] for name in terms} == terms


@pytest.mark.parametrize(
    ("charge", "code"),
    [
        ({"price_per_unit": "0"}, "INVALID_REQUEST_PARAMETERS"),
        ({"price_per_unit": "-1"}, "INVALID_REQUEST_PARAMETERS"),
        ({"price_per_unit": "123456"}, "INVALID_REQUEST_PARAMETERS"),
        ({"price_per_unit": "1.1234567890123"}, "INVALID_REQUEST_PARAMETERS"),
        ({"price_per_unit": "1e3"}, "INVALID_REQUEST_PARAMETERS"),
        ({"price_per_unit": None}, "INVALID_REQUEST_PARAMETERS"),
        ({"free_threshold": -1}, "INVALID_REQUEST_PARAMETERS"),
        ({"meter_id": "mtr_none"}, "MISSING_METER_IDS"),
    ],
)
def test_a_bad_price_is_refused_and_nothing_is_made(
    api: Any, price: Any, meter: dict[str, Any], charge: dict[str, Any], code: str
) -> None:
    body = {"name": "P", "tax_category": "saas", "price": price(meter["id"], **charge)}
    refused = api.refused("POST", "/products", body, status=400)
    assert refused["code"] == code
    assert refused["message"].startswith(f"price.meters[0].{next(iter(charge))}")
    assert api.call("GET", "/products") == {"items": []}


def test_an_archived_meter_cannot_be_priced(api: Any, price: Any, meter: dict[str, Any]) -> None:
    api.call("DELETE", f"/meters/{meter['id']}", status=204)
    body = {"name": "P", "tax_category": "saas", "price": price(meter["id"])}
    assert api.refused("POST", "/products", body, status=400)["code"] == "METER_IS_DELETED"


@pytest.mark.parametrize("type", ["one_time_price", "recurring_price"])
def test_other_prices_are_not_here_yet(api: Any, type: str) -> None:
    body = {"name": "P", "tax_category": "saas", "price": {"type": type, "currency": "USD"}}
    assert api.refused("POST", "/products", body, status=501)["code"] == "NOT_IMPLEMENTED"


def test_what_changes_the_bill_and_is_not_here_is_never_ignored(
    api: Any, price: Any, meter: dict[str, Any]
) -> None:
    body = {
        "name": "P",
        "tax_category": "saas",
        "price": price(meter["id"]),
        "credit_entitlements": [{"credit_entitlement_id": "cde_1"}],
    }
    assert "credit_entitlements" in api.refused("POST", "/products", body, status=501)["message"]
    api.call("POST", "/products", body | {"credit_entitlements": []})


def test_a_product_is_archived_once_and_comes_back(api: Any, product: dict[str, Any]) -> None:
    path = f"/products/{product['product_id']}"
    api.call("DELETE", path)
    assert api.refused("DELETE", path, status=410)["code"] == "PRODUCT_IS_DELETED"
    assert api.call("GET", "/products") == {"items": []}
    assert len(api.call("GET", "/products?archived=true")["items"]) == 1
    api.call("POST", f"{path}/unarchive")
    assert len(api.call("GET", "/products")["items"]) == 1


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"payment_frequency_interval": "month"}, 422, "price.payment_frequency_interval"),
        ({"subscription_period_interval": "year"}, 422, "price.subscription_period_interval"),
        ({"subscription_period_count": 21}, 400, "price.subscription_period_count"),
        ({"fixed_price": 2**31}, 400, "price.fixed_price"),
        ({"currency": "usd"}, 400, "price.currency"),
    ],
)
def test_a_bad_cycle_is_refused(
    api: Any, price: Any, meter: dict[str, Any], change: dict[str, Any], status: int, field: str
) -> None:
    body = {"name": "P", "tax_category": "saas", "price": price(meter["id"]) | change}
    assert api.refused("POST", "/products", body, status=status)["message"].startswith(field)


def test_products_of_another_brand_or_kind_are_none(api: Any, product: dict[str, Any]) -> None:
    def count(query: str) -> int:
        return len(api.call("GET", f"/products?{query}")["items"])

    assert count(f"brand_id={product['brand_id']}&recurring=true") == 1
    assert count("brand_id=brn_other") == 0
    assert count("recurring=false") == 0


def test_the_default_plan_is_a_flag_of_a_product(
    api: Any, parts: Any, product: dict[str, Any]
) -> None:
    assert parts.catalog.products.default_plans("test_mode") == []
    path = f"/products/{product['product_id']}"
    api.call("PATCH", path, {"default_plan": True})
    assert api.call("GET", path)["default_plan"] is True
    (plan,) = parts.catalog.products.default_plans("test_mode")
    assert plan.product_id == product["product_id"]
    assert parts.catalog.products.default_plans("live_mode") == []
