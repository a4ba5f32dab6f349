from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

CUSTOMER = {"email": "ann@example.com", "name": "Ann"}


def test_a_customer_may_choose_its_id_once(api: Any) -> None:
    body = CUSTOMER | {"customer_id": "customer_123", "metadata": {"plan": "pro", "seats": 3}}
    made = api.call("POST", "/customers", body)
    assert made["customer_id"] == "customer_123"
    assert made["metadata"] == {"plan": "pro", "seats": 3}
    again = api.send("POST", "/customers", json=body)
    assert again.status_code == 409
    assert again.headers["x-should-retry"] == "false"
    assert len(api.call("GET", "/customers")["items"]) == 1


def test_customers_are_found_by_part_of_address_or_name(api: Any) -> None:
    for name in ("Ann", "Bob", "50%"):
        api.call("POST", "/customers", {"email": f"{name}@example.com", "name": name})

    def names(query: str) -> list[str]:
        return [item["name"] for item in api.call("GET", f"/customers?{query}")["items"]]

    assert names("name=an") == ["Ann"]
    assert names("email=BOB@") == ["Bob"]
    assert names("name=%25") == ["50%"]
    assert names("name=_") == []
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert names(f"created_at_gte={tomorrow}") == []
    assert names(f"created_at_lte={tomorrow}") == ["Ann", "Bob", "50%"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": ""}, "email"),
        ({"email": "nobody"}, "email"),
        ({"email": "a b@c.d"}, "email"),
        ({"name": ""}, "name"),
        ({"customer_id": ""}, "customer_id"),
        ({"customer_id": "x" * 256}, "customer_id"),
        ({"phone_number": "x" * 256}, "phone_number"),
        ({"metadata": {"": "v"}}, "metadata key"),
        ({"metadata": {"k": "v" * 501}}, "metadata.k"),
        ({"metadata": {f"k{n}": 1 for n in range(51)}}, "metadata"),
    ],
)
def test_a_bad_customer_names_the_field_and_is_not_made(
    api: Any, change: dict[str, Any], field: str
) -> None:
    refused = api.refused("POST", "/customers", CUSTOMER | change, status=400)
    assert refused["message"].startswith(field)
    assert api.call("GET", "/customers") == {"items": []}


def test_too_much_metadata_has_dodos_word(api: Any) -> None:
    body = CUSTOMER | {"metadata": {f"k{n}": 1 for n in range(51)}}
    assert api.refused("POST", "/customers", body, status=400)["code"] == "MAXIMUM_KEYS_REACHED"


def test_a_customer_changes(api: Any, customer: dict[str, Any]) -> None:
    path = f"/customers/{customer['customer_id']}"
    api.call("PATCH", path, {"phone_number": "+1", "metadata": {"a": True}})
    changed = api.call("PATCH", path, {"name": None, "phone_number": None})
    assert changed == customer | {"metadata": {"a": True}}
    api.refused("PATCH", path, {"email": "x"}, status=400)
