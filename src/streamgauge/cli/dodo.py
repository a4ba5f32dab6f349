"""A meter and its price as they are typed into Dodo Payments' own dashboard."""

from __future__ import annotations

from typing import Any

from streamgauge.cli.client import Tree
from streamgauge.cli.output import plain
from streamgauge.cli.prices import Price


def figures(meter: Tree, price: Price | None) -> Tree:
    """Return the figures of the dashboard's fields, by field; JSON carries them as they are."""
    aggregation = meter["aggregation"]
    found: Tree = {
        "meter_name": meter["name"],
        "event_name": meter["event_name"],
        "aggregation_type": aggregation["type"],
        "over_property": aggregation.get("key"),
        "measurement_unit": meter["measurement_unit"],
        "filter": filter_text(meter),
    }
    if price is not None:
        found |= {
            "currency": price.currency,
            "price_per_unit": price.raw_major_text,
            "price_per_unit_minor": price.raw_text,
            "free_threshold": price.free or 0,
        }
    return found


def lines(meter: Tree, price: Price | None) -> list[tuple[str, str]]:
    """Return the same for people, as (field, what to type)."""
    found = figures(meter, price)
    unit = meter["measurement_unit"]
    fields = [
        ("Meter name", found["meter_name"]),
        ("Event name", found["event_name"]),
        ("Aggregation type", str(found["aggregation_type"]).capitalize()),
        ("Over property", found["over_property"] or ""),
        ("Measurement unit", unit),
        ("Filter", found["filter"] or ""),
    ]
    if price is not None:
        fields += [
            ("Price per unit", _price(price, unit)),
            ("Free threshold", f"{found['free_threshold']} ({unit})"),
        ]
    return fields


def filter_text(meter: Tree) -> str | None:
    """Return a meter's filter for people, or None."""
    return _filter(meter.get("filter"))


def _price(price: Price, unit: str) -> str:
    if price.raw_major_text is None:
        return f"no exact figure: per {unit} it has more than 12 places, and Dodo's field takes 12"
    return (
        f"{price.raw_major_text} {price.currency} per {unit} "
        f"(through Dodo's API, in minor units: {price.raw_text})"
    )


def _filter(node: Any) -> str | None:  # noqa: ANN401 - a filter nests itself
    if not node:
        return None
    if "clauses" not in node:
        return f"{node['key']} {node['operator'].replace('_', ' ')} {plain(node['value'])}"
    texts = [_filter(each) or "" for each in node["clauses"]]
    nested = [
        f"({text})" if "clauses" in each else text
        for text, each in zip(texts, node["clauses"], strict=True)
    ]
    return f" {node['conjunction']} ".join(nested)
