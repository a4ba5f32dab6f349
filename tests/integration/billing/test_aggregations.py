"""Every aggregation on invoices: preview, final, explained, late, and over several windows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from streamgauge.server.billing.history import HistoryQuery
from streamgauge.server.catalog.texts import Page
from streamgauge.server.metering.meter import Aggregation, AggregationType
from streamgauge.server.rating.price import MeterPrice

MODE = "test_mode"
KINDS = ("count", "sum", "max", "last", "unique", "avg")


def day(month: int, day_of_month: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day_of_month, hour, tzinfo=UTC)


def cents_each(company: Any, kind: str) -> MeterPrice:
    aggregation = Aggregation(type=AggregationType(kind), key=None if kind == "count" else "bytes")
    meter = company.meter(kind, aggregation=aggregation)
    return MeterPrice(meter_id=meter.id, price_per_unit="2")


USES = [
    (day(2, 3), 40),
    (day(2, 9), 7),
    (day(2, 5), 100),
    (day(2, 4), 7),
    (day(2, 6), "seven"),
]


@pytest.mark.parametrize(
    ("kind", "units", "not_counted", "total"),
    [
        ("count", "5", 0, 10),
        ("sum", "154", 1, 308),
        ("max", "100", 1, 200),
        ("last", "7", 1, 14),
        ("unique", "4", 0, 8),
        ("avg", "38.5", 1, 77),
    ],
)
def test_every_aggregation_is_billed_as_it_is_shown(
    company: Any, kind: str, units: str, not_counted: int, total: int
) -> None:
    company.product(cents_each(company, kind), default=True)
    company.use("c", USES)

    (preview,) = company.preview("c", at=day(2, 20))
    (final,) = company.finalise("c")
    explained = company.billing.explain(MODE, final.id, 1, Page(), late=False)

    for invoice in (preview, final):
        (line,) = invoice.lines
        assert (line.consumed_units, line.not_counted, line.amount) == (units, not_counted, total)
    assert (explained.units, explained.events, explained.not_counted) == (
        units,
        5 - not_counted,
        not_counted,
    )
    assert sum(event.units is None for event in explained.items) == not_counted


@pytest.mark.parametrize(
    ("kind", "units", "amount"),
    [
        ("count", "2", 4),
        ("sum", "1050", 2100),
        ("max", "900", 1800),
        ("last", "43", 86),
        ("unique", "2", 4),
    ],
)
def test_what_comes_after_the_cut_changes_no_invoice_and_is_listed(
    company: Any, kind: str, units: str, amount: int
) -> None:
    company.product(cents_each(company, kind), default=True)
    company.use("c", USES)
    (final,) = company.finalise("c")

    # An older instant that is larger, then one that is the last of the period.
    company.use("c", [(day(2, 1), 1_000), (day(2, 27), 50)])

    late = company.billing.get(MODE, final.id)
    (line,) = late.unbilled_late
    assert late.lines == final.lines
    assert (line.units, line.amount, line.events) == (units, amount, 2)
    explained = company.billing.explain(MODE, final.id, 1, Page(), late=True)
    assert (explained.units, explained.events) == (units, 2)


@pytest.mark.parametrize(
    ("kind", "units"),
    [("count", "2"), ("sum", "12"), ("max", "9"), ("last", "3"), ("unique", "2"), ("avg", "6")],
)
def test_a_period_that_another_plan_interrupts_is_read_as_one(
    company: Any, kind: str, units: str
) -> None:
    price = cents_each(company, kind)
    company.product(price, default=True)
    company.customer("c")
    subscription = company.subscribe("c", company.product(price), day(2, 10))
    company.catalog.subscriptions.update(
        MODE, subscription.subscription_id, {"ends_at": day(2, 20)}
    )
    company.use("c", [(day(2, 3), 9), (day(2, 15), 500), (day(2, 25), 3)])

    found = company.finalise("c", at=day(2, 5))
    default = next(invoice for invoice in found if invoice.subscription_id is None)

    assert default.lines[0].consumed_units == units
    assert len(default.lines[0].windows) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_usage_history_says_what_the_invoice_says(company: Any, kind: str) -> None:
    company.customer("c")
    subscription = company.subscribe("c", company.product(cents_each(company, kind)), day(2, 1))
    company.use("c", USES)
    id = subscription.subscription_id

    before = company.billing.usage_history(MODE, id, HistoryQuery()).items[-1].meters[0]
    (final,) = company.finalise("c", at=day(2, 20))
    after = company.billing.usage_history(MODE, id, HistoryQuery()).items[-1].meters[0]

    assert before == after
    assert before.consumed_units == final.lines[0].consumed_units
    assert before.total_price == final.lines[0].amount
