from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ODD: list[Any] = [
    None,
    True,
    -1,
    1.5,
    10**30,
    -(2**63) - 1,
    "",
    "\x00",
    "\u202e",
    "x" * 3000,
    "2026-01-01",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "1e999",
    "0.0000000000001",
    [],
    {},
    [[]],
    {"a": 1},
    {"k" * 200: "v" * 600},
]
METER = {
    "name": "Bytes",
    "event_name": "stream",
    "measurement_unit": "byte",
    "aggregation": {"type": "sum", "key": "bytes"},
    "description": "d",
    "filter": {
        "conjunction": "and",
        "clauses": [{"key": "quality", "operator": "equals", "value": "1080p"}],
    },
}


def places(tree: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(tree, dict | list):
        for name, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from places(part, (*path, name))


def changed(tree: dict[str, Any], path: tuple[Any, ...], to: object) -> dict[str, Any]:
    tree = copy.deepcopy(tree)
    at: Any = tree
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = to
    return tree


def bodies(product: dict[str, Any], customer: dict[str, Any], price: Any) -> dict[str, Any]:
    meter_id = product["price"]["meters"][0]["meter_id"]
    plan = {"name": "P", "tax_category": "saas", "price": price(meter_id), "metadata": {"a": 1}}
    person = {"email": "a@b.c", "name": "A", "phone_number": "1", "metadata": {"a": "b"}}
    subscription = {
        "billing": {"country": "US", "city": "c"},
        "customer": {"customer_id": customer["customer_id"]},
        "product_id": product["product_id"],
        "quantity": 1,
        "start_date": "2026-01-01T00:00:00Z",
        "tax_id": "t",
    }
    return {
        "POST /meters": METER,
        "POST /customers": person,
        f"PATCH /customers/{customer['customer_id']}": person,
        "POST /products": plan,
        f"PATCH /products/{product['product_id']}": plan,
        "POST /subscriptions": subscription,
        "POST /v1/keys": {
            "name": "a",
            "scope": "write",
            "writable": True,
            "strict_timestamps": True,
            "mode": "test_mode",
        },
    }


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_value_anywhere_in_a_body_makes_an_internal_error(
    api: Any, product: dict[str, Any], customer: dict[str, Any], price: Any, data: Any
) -> None:
    asked = bodies(product, customer, price)
    where = data.draw(st.sampled_from(sorted(asked)))
    path = data.draw(st.sampled_from(sorted(places(asked[where]), key=repr)))
    method, _, url = where.partition(" ")
    body = changed(asked[where], path, data.draw(st.sampled_from(ODD)))
    response = api.send(method, url, json=body)
    assert response.status_code in {200, 201, 400, 403, 404, 422, 501}, response.text
    if response.status_code >= 400:
        assert set(response.json()) == {"code", "message"}
    assert api.send("GET", url).status_code in {200, 405}
