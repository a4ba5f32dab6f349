from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamgauge.core.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
)
from streamgauge.core.units import ByteUnit
from streamgauge.server.billing import Whose
from streamgauge.server.catalog.meters import NewMeter
from streamgauge.server.catalog.plans import NewPlanMeter
from streamgauge.server.catalog.texts import Page
from streamgauge.server.metering.meter import Aggregation, AggregationType
from streamgauge.server.rating.invoice import InvoiceStatus
from streamgauge.server.rating.price import MeterPrice

MODE = "test_mode"
GB = 10**9
MICROSECOND = timedelta(microseconds=1)


def day(month: int, day_of_month: int, year: int = 2026) -> datetime:
    return datetime(year, month, day_of_month, tzinfo=UTC)


def test_a_default_plan_bills_a_customer_that_only_events_know(company: Any) -> None:
    company.product(company.price(company.meter(), free=10 * GB), default=True)
    company.use("stranger", [(day(3, 2), 16 * GB)])

    (invoice,) = company.preview("stranger")

    assert (invoice.total, invoice.currency, invoice.total_text) == (30, "USD", "0.30 USD")
    assert (invoice.start, invoice.end) == (day(3, 1), day(4, 1))
    assert not invoice.customer_known
    assert invoice.subscription_id is None
    assert invoice.status is InvoiceStatus.PREVIEW
    assert any("only events name it" in note for note in invoice.notes)


def test_a_customer_that_nothing_knows_is_refused(company: Any) -> None:
    company.product(company.price(company.meter()), default=True)

    with pytest.raises(NotFoundError, match="no customer has the id 'mistyped'"):
        company.preview("mistyped")


def test_a_customer_without_usage_owes_nothing(company: Any) -> None:
    company.product(company.price(company.meter()), default=True)
    company.customer("quiet")

    (invoice,) = company.preview("quiet")

    assert invoice.total == 0
    assert invoice.customer_known


def test_a_period_holds_its_first_instant_and_not_its_end(company: Any) -> None:
    company.product(company.price(company.meter()), default=True)
    company.use(
        "c", [(day(2, 1) - MICROSECOND, 1), (day(2, 1), 10), (day(3, 1) - MICROSECOND, 100)]
    )
    company.use("c", [(day(3, 1), 1000)])

    assert [
        company.preview("c", day(month, 1))[0].lines[0].consumed_units for month in (1, 2, 3)
    ] == [
        "1",
        "110",
        "1000",
    ]


def test_finalising_twice_gives_the_same_invoice(company: Any) -> None:
    company.product(company.price(company.meter()), default=True)
    company.use("c", [(day(2, 3), 7 * GB)])

    (first,) = company.finalise("c")
    company.clock.at += timedelta(days=1)
    (again,) = company.finalise("c")

    assert first == again
    assert first.status is InvoiceStatus.FINAL
    assert (first.start, first.total) == (day(2, 1), 35)
    assert company.billing.finals(MODE, customer_id="c", page=Page()) == [first]


def test_finalising_at_the_same_time_keeps_one_invoice(company: Any) -> None:
    company.product(company.price(company.meter()), default=True)
    company.use("c", [(day(2, 3), 7 * GB)])

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: company.finalise("c")[0].id, range(8)))

    assert len(set(found)) == 1
    assert len(company.billing.finals(MODE, customer_id="c", page=Page())) == 1


def test_what_arrives_after_the_cut_is_shown_beside_the_invoice(company: Any) -> None:
    company.product(company.price(company.meter(), free=10 * GB), default=True)
    company.use("c", [(day(2, 3), 9 * GB)])
    (final,) = company.finalise("c")

    company.use("c", [(day(2, 4), 2 * GB), (day(3, 4), 50 * GB)])
    company.use("c", [(day(2, 5), "lost")])
    seen = company.billing.get(MODE, final.id)

    (late,) = seen.unbilled_late
    assert (late.line, late.events, late.not_counted, late.units) == (1, 1, 1, str(2 * GB))
    assert (late.exact_amount, late.amount) == ("5", 5)
    assert seen.total == final.total == 0
    assert seen.lines == final.lines
    assert company.preview("c", day(2, 20)) == [seen]


def test_late_events_are_explained_apart(company: Any) -> None:
    company.product(company.price(company.meter()), default=True)
    company.use("c", [(day(2, 3), 3)])
    (final,) = company.finalise("c")
    company.use("c", [(day(2, 4), 5), (day(2, 5), 7)])

    billed = company.billing.explain(MODE, final.id, 1, Page(), late=False)
    late = company.billing.explain(MODE, final.id, 1, Page(), late=True)

    assert (billed.units, [event.units for event in billed.items]) == ("3", ["3"])
    assert (late.units, [event.units for event in late.items]) == ("12", ["7", "5"])
    assert (billed.events, late.events) == (1, 2)


def test_only_a_period_that_has_ended_is_finalised(company: Any) -> None:
    product = company.product(company.price(company.meter()), default=True)
    company.use("c", [(day(3, 3), GB)])
    company.customer("c")
    sub = company.subscribe("c", product, day(3, 10))

    with pytest.raises(ConflictError, match="ends at 2026-04-01"):
        company.finalise("c", day(3, 3))
    with pytest.raises(ConflictError, match="no period of subscription"):
        company.billing.finalise(MODE, Whose(subscription_id=sub.subscription_id), cut=company.cut)
    assert company.billing.finals(MODE, customer_id=None, page=Page()) == []


def test_filtered_meters_split_the_total(company: Any) -> None:
    whole = company.meter()
    qualities = ("480p", "720p", "1080p")
    parts = [company.meter(quality, quality=quality) for quality in qualities]
    company.product(*(company.price(meter) for meter in (whole, *parts)), default=True)
    for place, quality in enumerate(qualities, start=1):
        company.use("c", [(day(3, place), 10**place * GB)] * place, quality=quality)

    (invoice,) = company.preview("c")

    total, *lines = (line.usage for line in invoice.lines)
    assert [usage.quantity for usage in lines] == [10 * GB, 200 * GB, 3000 * GB]
    assert total.quantity == sum(usage.quantity for usage in lines)
    assert total.events == sum(usage.events for usage in lines) == 6
    assert invoice.lines[3].measures == (
        'sum of bytes over events named stream_consumption where quality equals "1080p"'
    )


def test_a_subscription_of_ones_own_is_not_billed_again_by_the_default_plan(company: Any) -> None:
    meter = company.meter()
    company.product(company.price(meter, "5"), default=True)
    special = company.product(company.price(meter, "3"))
    company.customer("c")
    company.use("c", [(day(2, place), GB) for place in range(1, 21)])
    company.subscribe("c", special, day(2, 11))

    company.clock.at = day(3, 15)
    own, default = company.preview("c", day(2, 20))

    assert own.subscription_id is not None
    assert (own.lines[0].consumed_units, own.total) == (str(10 * GB), 30)
    assert (default.lines[0].consumed_units, default.total) == (str(10 * GB), 50)
    assert [(window.start, window.end) for window in default.lines[0].windows] == [
        (day(2, 1), day(2, 11))
    ]


def test_a_cancelled_subscription_gives_its_meter_back_to_the_default_plan(company: Any) -> None:
    meter = company.meter()
    product = company.product(company.price(meter), default=True)
    company.customer("c")
    company.use("c", [(day(2, place), GB) for place in range(1, 21)])
    sub = company.subscribe("c", product, day(2, 6))
    company.catalog.subscriptions.update(MODE, sub.subscription_id, {"ends_at": day(2, 11)})

    invoices = company.finalise("c", day(2, 8))

    assert [invoice.lines[0].events for invoice in invoices] == [5, 15]
    own, default = invoices
    assert (own.start, own.end) == (day(2, 6), day(2, 11))
    assert [(part.start.day, part.end.day) for part in default.lines[0].windows] == [
        (1, 6),
        (11, 1),
    ]


def test_events_of_a_line_with_several_windows_are_explained_page_by_page(company: Any) -> None:
    product = company.product(company.price(company.meter()), default=True)
    company.customer("c")
    company.use("c", [(day(2, place), place) for place in range(1, 21)])
    sub = company.subscribe("c", product, day(2, 6))
    company.catalog.subscriptions.update(MODE, sub.subscription_id, {"ends_at": day(2, 11)})
    _, default = company.finalise("c", day(2, 8))

    pages = [
        company.billing.explain(MODE, default.id, 1, Page(number=number, size=4), late=False)
        for number in range(5)
    ]

    days = [event.timestamp.day for page in pages for event in page.items]
    assert days == [*range(20, 10, -1), *range(5, 0, -1)]
    assert {page.units for page in pages} == {str(sum(days))}


def test_a_subscription_dated_back_does_not_bill_what_a_default_plan_billed(company: Any) -> None:
    product = company.product(company.price(company.meter()), default=True)
    company.customer("c")
    company.use("c", [(day(2, place), GB) for place in range(1, 11)])
    (billed,) = company.finalise("c")
    assert billed.lines[0].events == 10

    company.subscribe("c", product, day(2, 6))
    (own, default) = company.preview("c", day(2, 8))

    assert default == billed
    assert own.lines[0].events == 0
    assert [(part.start, part.end) for part in own.lines[0].windows] == [(day(3, 1), day(3, 6))]


def test_a_month_end_subscription_is_billed_by_its_own_periods(company: Any) -> None:
    product = company.product(company.price(company.meter()))
    company.customer("c")
    sub = company.subscribe("c", product, datetime(2026, 1, 31, 13, 45, 59, tzinfo=UTC))
    before = datetime(2026, 2, 28, 13, 44, 59, tzinfo=UTC)
    company.use("c", [(before, 1), (before + timedelta(seconds=1), 10)])

    (first,) = company.finalise("c", day(2, 1))
    (second,) = company.preview("c", day(3, 1))

    assert first.subscription_id == sub.subscription_id
    assert (first.end, second.start) == (second.start, datetime(2026, 2, 28, 13, 45, tzinfo=UTC))
    assert second.end == datetime(2026, 3, 31, 13, 45, tzinfo=UTC)
    assert [invoice.lines[0].consumed_units for invoice in (first, second)] == ["1", "10"]


def test_a_product_taken_off_sale_is_still_owed_up_to_then(company: Any) -> None:
    product = company.product(company.price(company.meter()), default=True)
    company.use("c", [(day(3, 3), GB), (day(3, 20), 2 * GB)])
    company.catalog.products.archive(MODE, product.product_id)
    company.clock.at = day(4, 15)

    assert company.preview("c") == []
    (invoice,) = company.finalise("c")
    assert invoice.lines[0].consumed_units == str(GB)
    assert invoice.end == datetime(2026, 3, 15, 12, 0, tzinfo=UTC)


def test_a_currency_without_minor_unit_is_rounded_to_whole_units(company: Any) -> None:
    company.product(company.price(company.meter(), "7.5"), default=True, currency="JPY")
    company.use("c", [(day(3, 3), 3 * GB)])

    (invoice,) = company.preview("c")

    assert (invoice.lines[0].exact_amount, invoice.total_text) == ("22.5", "22 JPY")


def test_a_fixed_price_is_a_line_that_no_event_explains(company: Any) -> None:
    company.product(company.price(company.meter()), default=True, fixed_price=900)
    company.use("c", [(day(2, 3), 20 * GB)])

    (invoice,) = company.finalise("c")

    assert [line.amount for line in invoice.lines] == [100, 900]
    assert invoice.total == 1000
    with pytest.raises(InvalidInputError, match="a fixed price has no events"):
        company.billing.explain(MODE, invoice.id, 2, Page(), late=False)
    with pytest.raises(NotFoundError, match="invoice line"):
        company.billing.explain(MODE, invoice.id, 3, Page(), late=False)


def test_a_price_changed_after_the_cut_changes_no_final_invoice(company: Any) -> None:
    meter = company.meter()
    product = company.product(company.price(meter, "5"), default=True)
    company.use("c", [(day(2, 3), GB), (day(3, 3), GB)])
    (final,) = company.finalise("c")

    dearer = company.product(company.price(meter, "9")).price
    company.catalog.products.update(MODE, product.product_id, {"price": dearer})

    assert company.billing.get(MODE, final.id) == final
    assert company.finalise("c") == [final]
    assert company.preview("c")[0].total == 9


def test_someone_must_be_named_and_only_once(company: Any) -> None:
    for whose in (Whose(), Whose(customer_id="c", subscription_id="sub_1")):
        with pytest.raises(InvalidInputError, match="not both"):
            company.billing.preview(MODE, whose, cut=0)


def test_an_earlier_cut_gives_the_earlier_figures_for_ever(company: Any) -> None:
    company.product(company.price(company.meter()), default=True)
    company.use("c", [(day(3, 3), 3 * GB)])
    cut = company.cut
    (before,) = company.preview("c")
    company.use("c", [(day(3, 3), 4 * GB)])

    (again,) = company.billing.preview(MODE, Whose(customer_id="c"), cut=cut)
    (now,) = company.billing.preview(MODE, Whose(customer_id="c"))

    assert again == before
    assert (before.total, now.total) == (15, 35)


def test_one_meter_is_joined_to_a_plan_once_even_at_the_same_time(company: Any) -> None:
    wanted = NewPlanMeter(
        meter=NewMeter(
            name="egress",
            event_name="stream_consumption",
            measurement_unit="byte",
            aggregation=Aggregation(type=AggregationType.SUM, key="bytes"),
        ),
        plan="Usage",
        currency="USD",
        price=MeterPrice(meter_id="", price_per_unit="5", price_unit=ByteUnit.GB),
    )

    def add(_: int) -> bool:
        try:
            company.catalog.plans.add(MODE, wanted)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(add, range(6))) == [False] * 5 + [True]

    (plan,) = company.catalog.products.default_plans(MODE)
    assert len(plan.price.meters) == len(company.catalog.meters.list(MODE)) == 1


def test_business_and_mode_are_apart(company: Any) -> None:
    company.product(company.price(company.meter()), default=True)
    company.use("c", [(day(2, 3), GB)])
    (final,) = company.finalise("c")

    assert company.billing.finals("live_mode", customer_id="c", page=Page()) == []
    with pytest.raises(NotFoundError):
        company.billing.get("live_mode", final.id)
    with pytest.raises(NotFoundError):
        company.billing.preview("live_mode", Whose(customer_id="c"), cut=company.cut)


def test_a_month_can_be_finalised_from_its_end_on_and_not_before(company: Any) -> None:
    company.product(company.price(company.meter()), default=True)
    company.use("c", [(day(1, 3), GB), (day(2, 3), 2 * GB)])

    company.clock.at = day(3, 1) - MICROSECOND
    assert [invoice.start for invoice in company.finalise("c")] == [day(1, 1)]
    company.clock.at = day(3, 1)
    assert [invoice.start for invoice in company.finalise("c")] == [day(2, 1)]
