"""Meters, customers, products and subscriptions through the official package, unmodified."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import dodopayments
import pytest
from dodopayments import DodoPayments

NUMBERS = count()


def fresh(prefix: str) -> str:
    return f"{prefix}_{next(NUMBERS)}"


def make_meter(client: DodoPayments, event_name: str, **options: Any) -> Any:
    return client.meters.create(
        name=fresh("meter"),
        event_name=event_name,
        measurement_unit="byte",
        aggregation={"type": "sum", "key": "bytes"},
        **options,
    )


def make_product(client: DodoPayments, meter_id: str) -> Any:
    return client.products.create(
        name="Streaming",
        tax_category="saas",
        price={
            "type": "usage_based_price",
            "currency": "USD",
            "fixed_price": 0,
            "payment_frequency_count": 1,
            "payment_frequency_interval": "Month",
            "subscription_period_count": 10,
            "subscription_period_interval": "Year",
            "discount": 0,
            "purchasing_power_parity": False,
            "meters": [
                {"meter_id": meter_id, "price_per_unit": "0.5", "free_threshold": 1_000_000_000_000}
            ],
        },
    )


def test_meters_are_created_got_listed_changed_archived_and_unarchived(
    client: DodoPayments,
) -> None:
    made = make_meter(client, fresh("catalog"), description="what it is")
    assert client.meters.retrieve(made.id) == made
    assert made.id in [meter.id for meter in client.meters.list(page_size=100).items]
    changed = client.meters.update(made.id, name="renamed", description=None)
    assert (changed.name, changed.description) == ("renamed", None)
    client.meters.archive(made.id)
    assert made.id not in [meter.id for meter in client.meters.list(page_size=100).items]
    archived = client.meters.list(archived=True, page_size=100).items
    assert made.id in [meter.id for meter in archived]
    client.meters.unarchive(made.id)
    assert made.id in [meter.id for meter in client.meters.list(page_size=100).items]


def test_a_nested_filter_comes_back_as_it_was_sent(client: DodoPayments) -> None:
    leaf = {"key": "bytes", "operator": "greater_than", "value": 5}
    inner = {"conjunction": "or", "clauses": [leaf, {**leaf, "operator": "equals", "value": "x"}]}
    nested: Any = {"conjunction": "and", "clauses": [inner]}
    made = make_meter(client, fresh("catalog"), filter=nested)
    assert made.filter is not None
    assert made.filter.to_dict() == nested


def test_customers_are_created_got_listed_and_changed(client: DodoPayments) -> None:
    made = client.customers.create(
        email=f"{fresh('bob')}@example.com", name="Bob", metadata={"plan": "pro"}
    )
    assert client.customers.retrieve(made.customer_id) == made
    found = client.customers.list(email=made.email).items
    assert [customer.customer_id for customer in found] == [made.customer_id]
    changed = client.customers.update(made.customer_id, name="Robert")
    assert (changed.name, changed.email) == ("Robert", made.email)


def test_a_customer_id_may_be_chosen(client: DodoPayments) -> None:
    chosen = fresh("customer")
    body = {"customer_id": chosen}
    made = client.customers.create(email="c@example.com", name="C", extra_body=body)
    assert made.customer_id == chosen


def test_products_are_created_got_listed_archived_and_unarchived(client: DodoPayments) -> None:
    meter = make_meter(client, fresh("catalog"))
    made = make_product(client, meter.id)
    assert client.products.retrieve(made.product_id) == made
    assert made.price.meters[0].name == meter.name
    assert made.price.meters[0].free_threshold == 1_000_000_000_000
    client.products.update(made.product_id, name="Renamed")
    listed = {item.product_id: item for item in client.products.list(page_size=100).items}
    assert listed[made.product_id].name == "Renamed"
    client.products.archive(made.product_id)
    archived = client.products.list(archived=True, page_size=100).items
    assert made.product_id in [item.product_id for item in archived]
    client.products.unarchive(made.product_id)


def nulls(call: Any) -> dict[str, Any]:
    """Return the parameters of a call of the package that may be null, each of them null."""
    parameters = inspect.signature(call).parameters
    return {
        name: None
        for name, parameter in parameters.items()
        if "Optional[" in parameter.annotation or "None" in parameter.annotation
        if name not in {"extra_headers", "extra_query", "extra_body", "timeout"}
    }


def test_whatever_may_be_null_in_the_package_may_be_null_here(
    client: DodoPayments, customer_id: str
) -> None:
    count: Any = {"type": "count"}
    texts: Any = {"name": "null", "event_name": fresh("null"), "measurement_unit": "event"}
    meter = client.meters.create(**texts, aggregation=count, **nulls(client.meters.create))
    price = make_product(client, meter.id).price.to_dict()
    asked: Any = [
        (client.meters.update, {"id": meter.id}),
        (client.customers.create, {"email": "n@example.com", "name": "N"}),
        (client.customers.update, {"customer_id": customer_id}),
        (client.products.create, {"name": "null", "tax_category": "saas", "price": price}),
        (client.products.update, {"id": make_product(client, meter.id).product_id}),
    ]
    for call, required in asked:
        assert len(nulls(call)) >= 2
        call(**required, **nulls(call))
    with pytest.deprecated_call():
        made = client.subscriptions.create(
            billing={"country": "US", "city": None, "zipcode": None},
            customer={"customer_id": customer_id},
            product_id=make_product(client, meter.id).product_id,
            quantity=1,
            **nulls(client.subscriptions.create),
        )
    before = client.subscriptions.retrieve(made.subscription_id)
    update, history = client.subscriptions.update, client.subscriptions.retrieve_usage_history
    assert update(made.subscription_id, **nulls(update)) == before
    assert len(history(made.subscription_id, **nulls(history)).items) == 1


def test_a_subscription_has_a_usage_history(client: DodoPayments, customer_id: str) -> None:
    name = fresh("catalog")
    meter = make_meter(client, name)
    product = make_product(client, meter.id)
    # Dodo prefers checkouts by now; the route is still the only one without a payment page.
    with pytest.deprecated_call():
        made = client.subscriptions.create(
            billing={"country": "US"},
            customer={"customer_id": customer_id},
            product_id=product.product_id,
            quantity=1,
        )
    metadata: Any = {"bytes": 1_000_000_000_010}
    client.usage_events.ingest(
        events=[
            {
                "event_id": fresh("history"),
                "customer_id": customer_id,
                "event_name": name,
                "metadata": metadata,
            }
        ]
    )
    found = client.subscriptions.retrieve(made.subscription_id)
    assert (found.status, found.meters[0].meter_id) == ("active", meter.id)
    listed = client.subscriptions.list(customer_id=customer_id, status="active").items
    assert [item.subscription_id for item in listed] == [made.subscription_id]
    (period,) = client.subscriptions.retrieve_usage_history(made.subscription_id).items
    (line,) = period.meters
    assert (line.id, line.consumed_units, line.chargeable_units) == (
        meter.id,
        "1000000000010",
        "10",
    )
    assert (line.total_price, line.currency, line.price_per_unit) == (5, "USD", "0.5")
    assert (period.start_date, period.end_date) == (
        found.previous_billing_date,
        found.next_billing_date,
    )
    cancelled = client.subscriptions.update(made.subscription_id, status="cancelled")
    assert cancelled.status == "cancelled"


def ingest(client: DodoPayments, name: str, customer_id: str, *sent: dict[str, Any]) -> None:
    events: list[Any] = [
        {"event_id": fresh("meters"), "customer_id": customer_id, "event_name": name} | one
        for one in sent
    ]
    assert client.usage_events.ingest(events=events).ingested_count == len(sent)


def consumed(client: DodoPayments, meter_id: str, customer_id: str) -> str:
    """Return what the running billing period of a new subscription says of a meter."""
    product = make_product(client, meter_id)
    with pytest.deprecated_call():
        made = client.subscriptions.create(
            billing={"country": "US"},
            customer={"customer_id": customer_id},
            product_id=product.product_id,
            quantity=1,
        )
    (period,) = client.subscriptions.retrieve_usage_history(made.subscription_id).items
    (line,) = period.meters
    return line.consumed_units


@pytest.mark.parametrize(
    ("kind", "units"), [("count", "5"), ("sum", "17.5"), ("max", "9"), ("last", "2")]
)
def test_every_aggregation_of_dodos_is_evaluated(
    client: DodoPayments, customer_id: str, kind: Any, units: str
) -> None:
    name, later = fresh("catalog"), datetime.now(UTC) + timedelta(seconds=90)
    aggregation: Any = {"type": kind} if kind == "count" else {"type": kind, "key": "viewers"}
    made = client.meters.create(
        name=fresh("meter"), event_name=name, measurement_unit="viewer", aggregation=aggregation
    )
    assert (made.aggregation.type, made.aggregation.key) == (kind, aggregation.get("key"))
    ingest(
        client,
        name,
        customer_id,
        {"timestamp": later, "metadata": {"viewers": 2}},
        {"timestamp": later - timedelta(seconds=1), "metadata": {"viewers": 9}},
        {"timestamp": later - timedelta(seconds=2), "metadata": {"viewers": 6.5}},
        {"timestamp": later + timedelta(seconds=1), "metadata": {"viewers": "12"}},
        {"timestamp": later + timedelta(seconds=1), "metadata": None},
    )
    assert consumed(client, made.id, customer_id) == units


def test_a_filter_of_three_levels_decides_what_is_counted(
    client: DodoPayments, customer_id: str
) -> None:
    name = fresh("catalog")

    def leaf(key: str, operator: str, value: object) -> dict[str, Any]:
        return {"key": key, "operator": operator, "value": value}

    def group(conjunction: str, *clauses: dict[str, Any]) -> dict[str, Any]:
        return {"conjunction": conjunction, "clauses": list(clauses)}

    third = group("or", leaf("quality", "equals", "1080p"), leaf("bytes", "greater_than", 100))
    live: Any = group("and", leaf("live", "equals", value=True))
    others = group("or", leaf("path", "contains", "/free/"), leaf("plan", "not_equals", "pro"))
    filter: Any = group("or", group("and", third, live), others)
    made = make_meter(client, name, filter=filter)
    assert made.filter is not None
    assert made.filter.to_dict() == filter
    ingest(
        client,
        name,
        customer_id,
        {"metadata": {"bytes": 1, "quality": "1080p", "live": True}},
        {"metadata": {"bytes": 1000, "quality": "480p", "live": True}},
        {"metadata": {"bytes": 20, "quality": "480p", "live": True}},
        {"metadata": {"bytes": 400, "quality": "1080p", "live": "true"}},
        {"metadata": {"bytes": 5000, "path": "/free/a"}},
        {"metadata": {"bytes": 60000, "plan": "pro"}},
        {"metadata": {"bytes": 700000, "plan": "basic"}},
    )
    assert consumed(client, made.id, customer_id) == "706001"


def test_a_meter_too_deep_or_without_a_key_is_refused_and_not_made(client: DodoPayments) -> None:
    name = fresh("catalog")
    node: Any = {"conjunction": "and", "clauses": [{"key": "a", "operator": "equals", "value": 1}]}
    deep = node
    for _ in range(3):
        deep = {"conjunction": "or", "clauses": [deep]}
    with pytest.raises(dodopayments.BadRequestError, match="nest at most 3 levels"):
        make_meter(client, name, filter=deep)
    with pytest.raises(dodopayments.BadRequestError, match="name a metadata value"):
        client.meters.create(
            name="m", event_name=name, measurement_unit="byte", aggregation={"type": "max"}
        )
    listed = client.meters.list(page_size=100).items
    assert name not in [meter.event_name for meter in listed]


def test_an_archived_meter_keeps_what_came_meanwhile(
    client: DodoPayments, customer_id: str
) -> None:
    name = fresh("catalog")
    made = make_meter(client, name)
    ingest(client, name, customer_id, {"metadata": {"bytes": 1}})
    client.meters.archive(made.id)
    assert client.meters.retrieve(made.id).id == made.id
    ingest(client, name, customer_id, {"metadata": {"bytes": 10}})
    client.meters.unarchive(made.id)
    ingest(client, name, customer_id, {"metadata": {"bytes": 100}})
    assert consumed(client, made.id, customer_id) == "111"
    with pytest.raises(dodopayments.NotFoundError):
        client.meters.archive("mtr_none")
    with pytest.raises(dodopayments.NotFoundError):
        client.meters.unarchive("mtr_none")


def test_a_meter_changes_its_texts_and_nothing_else(client: DodoPayments) -> None:
    made = make_meter(client, fresh("catalog"), description="old")
    changed = client.meters.update(made.id, measurement_unit="GB")
    assert (changed.name, changed.measurement_unit, changed.description) == (
        made.name,
        "GB",
        "old",
    )
    assert changed.updated_at >= made.updated_at
    for field, value in (("event_name", "x"), ("aggregation", {"type": "count"}), ("filter", None)):
        with pytest.raises(dodopayments.BadRequestError, match="it cannot be changed"):
            client.meters.update(made.id, extra_body={field: value})
    assert client.meters.retrieve(made.id) == changed
