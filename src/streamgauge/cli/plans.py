"""What ``meters create`` makes: a meter, and its price in a plan that bills every customer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from streamgauge.cli.client import Client, Tree
from streamgauge.cli.prices import Price
from streamgauge.core.errors import ConflictError, InvalidInputError, StreamgaugeError

# Dodo's longest life; a plan for every customer ends when it is archived.
_PLAN_YEARS = 20


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What was made.

    Attributes:
        meter: The meter, as the API answers it.
        product: The product with the price; None without a price.
        twice: Other meters of that product that take the same events to the same figure.
    """

    meter: Tree
    product: Tree | None
    twice: tuple[Tree, ...] = ()


def make(client: Client, meter: Mapping[str, Any], price: Price | None, plan: str) -> Made:
    """Make a meter, and with a price put it into the default plan named ``plan``.

    Nothing stays behind if the plan cannot be made.

    Raises:
        InvalidInputError: A meter has this name; a second one would bill the same usage twice.
    """
    others = list(client.items("meters"))
    for other in others:
        if other["name"] == meter["name"]:
            raise InvalidInputError("NAME", meter["name"], f"be new; {other['id']} has this name")
    made = client.post("meters", body=dict(meter))
    if price is None:
        return Made(meter=made, product=None)
    try:
        product = _priced(client, made["id"], price, plan)
    except StreamgaugeError:
        client.ask("DELETE", "meters", made["id"])
        raise
    priced = {line["meter_id"] for line in product["price"]["meters"]}
    twice = tuple(each for each in others if each["id"] in priced and _overlap(each, made))
    return Made(meter=made, product=product, twice=twice)


def _overlap(one: Tree, other: Tree) -> bool:
    """Tell whether two meters surely add up the same events; two filters may exclude each other."""
    same = all(one[field] == other[field] for field in ("event_name", "aggregation"))
    return same and (one["filter"] is None or other["filter"] is None)


def _priced(client: Client, meter_id: str, price: Price, plan: str) -> Tree:
    line = _line(meter_id, price)
    found = _default_plan(client, plan)
    if found is None:
        made: Tree = client.post("products", body=_product(plan, price.currency, line))
        return made
    id, whole = found["product_id"], found["price_detail"]
    if whole["currency"] != price.currency:
        raise ConflictError(
            f"plan {plan!r} bills in {whole['currency']}; name another one with --plan"
        )
    meters = [_sent(each) for each in whole.get("meters") or ()]
    client.ask("PATCH", "products", id, body={"price": whole | {"meters": [*meters, line]}})
    changed: Tree = client.get("products", id)
    return changed


def _default_plan(client: Client, name: str) -> Tree | None:
    plans = (each for each in client.items("products") if each["default_plan"] is True)
    return next((each for each in plans if each["name"] == name), None)


def _sent(line: Tree) -> Tree:
    """Return a line of an answer as it is sent: without the meter's own texts."""
    own = {"name", "description", "measurement_unit"}
    return {field: value for field, value in line.items() if field not in own}


def _line(meter_id: str, price: Price) -> Tree:
    line: Tree = {"meter_id": meter_id, "price_per_unit": price.price_per_unit}
    if price.per is not None:
        line["price_unit"] = price.per.value
    if price.free is not None:
        line["free_threshold"] = price.free
    return line


def _product(name: str, currency: str, line: Tree) -> Tree:
    return {
        "name": name,
        "tax_category": "saas",
        "default_plan": True,
        "price": {
            "type": "usage_based_price",
            "currency": currency,
            "fixed_price": 0,
            "payment_frequency_count": 1,
            "payment_frequency_interval": "Month",
            "subscription_period_count": _PLAN_YEARS,
            "subscription_period_interval": "Year",
            "meters": [line],
        },
    }
