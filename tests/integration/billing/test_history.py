from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from streamgauge.core.errors import NotFoundError
from streamgauge.server.billing.history import HistoryQuery
from streamgauge.server.catalog.texts import Page

MODE = "test_mode"
GB = 10**9


def day(month: int, day_of_month: int) -> datetime:
    return datetime(2026, month, day_of_month, tzinfo=UTC)


def starts(company: Any, sub: Any, **query: Any) -> list[datetime]:
    history = company.billing.usage_history(MODE, sub.subscription_id, HistoryQuery(**query))
    return [period.start_date for period in history.items]


@pytest.fixture
def sub(company: Any) -> Any:
    meters = [company.meter(quality, quality=quality) for quality in ("sd", "hd")]
    product = company.product(*(company.price(meter, free=GB) for meter in meters))
    company.customer("c")
    company.use("c", [(day(1, 20), 3 * GB), (day(2, 20), 5 * GB)], quality="hd")
    company.use("c", [(day(3, 14), GB // 2)], quality="sd")
    return company.subscribe("c", product, day(1, 10))


def test_periods_are_newest_first_with_the_running_one(company: Any, sub: Any) -> None:
    history = company.billing.usage_history(MODE, sub.subscription_id, HistoryQuery())

    assert [(period.start_date, period.end_date) for period in history.items] == [
        (day(3, 10), day(4, 10)),
        (day(2, 10), day(3, 10)),
        (day(1, 10), day(2, 10)),
    ]
    sd, hd = history.items[2].meters
    assert (sd.name, sd.consumed_units, sd.total_price) == ("sd", "0", 0)
    assert (hd.consumed_units, hd.chargeable_units) == (str(3 * GB), str(2 * GB))
    assert (hd.free_threshold, hd.price_per_unit) == (GB, "0.000000005")
    assert (hd.currency, hd.total_price) == ("USD", 10)
    assert history.items[0].meters[0].consumed_units == str(GB // 2)


def test_dates_and_pages_choose_periods(company: Any, sub: Any) -> None:
    assert starts(company, sub, start_date=day(2, 10)) == [day(3, 10), day(2, 10)]
    assert starts(company, sub, end_date=day(2, 10)) == [day(2, 10), day(1, 10)]
    assert starts(company, sub, page=Page(number=1, size=1)) == [day(2, 10)]
    assert starts(company, sub, page=Page(number=3, size=1)) == []


def test_one_meter_can_be_asked_for(company: Any, sub: Any) -> None:
    wanted = sub.price.meters[1].meter_id

    query = HistoryQuery(meter_id=wanted)
    history = company.billing.usage_history(MODE, sub.subscription_id, query)

    assert {meter.id for period in history.items for meter in period.meters} == {wanted}


def test_a_meter_that_nothing_knows_is_refused_and_one_of_no_price_has_no_line(
    company: Any, sub: Any
) -> None:
    unpriced = HistoryQuery(meter_id=company.meter("unpriced").id)
    history = company.billing.usage_history(MODE, sub.subscription_id, unpriced)
    assert [period.meters for period in history.items] == [[], [], []]
    with pytest.raises(NotFoundError, match="meter"):
        company.billing.usage_history(MODE, sub.subscription_id, HistoryQuery(meter_id="mtr_none"))


def test_history_outlives_a_meter_that_is_renamed_and_archived(company: Any, sub: Any) -> None:
    id = sub.price.meters[1].meter_id
    company.catalog.meters.update(MODE, id, {"name": "renamed"})
    company.catalog.meters.archive(MODE, id)

    query = HistoryQuery(meter_id=id)
    history = company.billing.usage_history(MODE, sub.subscription_id, query)

    lines = [(line.name, line.consumed_units) for item in history.items for line in item.meters]
    assert lines == [("renamed", "0"), ("renamed", str(5 * GB)), ("renamed", str(3 * GB))]


def test_a_finalised_period_shows_its_invoice(company: Any, sub: Any) -> None:
    company.finalise("c", day(1, 15))
    company.use("c", [(day(1, 21), 7 * GB)], quality="hd")

    history = company.billing.usage_history(MODE, sub.subscription_id, HistoryQuery())

    assert history.items[2].meters[1].consumed_units == str(3 * GB)


def test_a_subscription_that_ended_has_no_later_periods(company: Any, sub: Any) -> None:
    company.catalog.subscriptions.update(MODE, sub.subscription_id, {"ends_at": day(2, 15)})

    assert starts(company, sub) == [day(2, 10), day(1, 10)]


def test_an_unknown_subscription_is_refused(company: Any) -> None:
    with pytest.raises(NotFoundError, match="subscription"):
        company.billing.usage_history(MODE, "sub_none", HistoryQuery())
