"""Usage history of a subscription, in Dodo's shape: one item per billing period."""

from __future__ import annotations

from datetime import datetime

import msgspec

from streamgauge.core.clock import Clock, utc
from streamgauge.server.billing.accounts import Account, of_subscription
from streamgauge.server.billing.reading import Span, read_usage
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.texts import Page
from streamgauge.server.metering.windows import Window, in_utc
from streamgauge.server.rating.money import exact_text
from streamgauge.server.rating.price import MeterPrice, price_per_raw_unit
from streamgauge.server.rating.rate import Usage, rate
from streamgauge.server.store import EventStore


class MeterUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What one meter says of one billing period.

    Attributes:
        id: The meter's.
        name: The meter's.
        consumed_units: Raw units, exact decimal text.
        chargeable_units: Raw units above the threshold, exact decimal text.
        free_threshold: Raw units that cost nothing.
        price_per_unit: Minor units per raw unit, exact decimal text, whatever the ``price_unit``.
        currency: ISO 4217.
        total_price: Minor units, rounded once.
    """

    id: str
    name: str
    consumed_units: str
    chargeable_units: str
    free_threshold: int
    price_per_unit: str
    currency: str
    total_price: int


class PeriodUsage(msgspec.Struct, frozen=True, kw_only=True):
    """One billing period; the running one is among them."""

    start_date: datetime
    end_date: datetime
    meters: list[MeterUsage]


class UsageHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A page of billing periods, newest first."""

    items: list[PeriodUsage]


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which periods: those that share an instant with ``[start_date, end_date]``.

    Attributes:
        start_date: From the first period if None.
        end_date: To the running one if None.
        meter_id: Only this meter.
        page: Which part.
    """

    start_date: datetime | None = None
    end_date: datetime | None = None
    meter_id: str | None = None
    page: Page = Page()


def usage_history(
    catalog: Catalog,
    store: EventStore,
    clock: Clock,
    mode: str,
    subscription_id: str,
    query: HistoryQuery,
) -> UsageHistory:
    """Return the billing periods of a subscription, newest first.

    A finalised period shows the figures of its invoice.

    Raises:
        NotFoundError: No subscription, or no meter, has this id.
        UnsupportedError: A price or a meter cannot be evaluated yet.
        UnavailableError: The store cannot answer now.
    """
    account = of_subscription(catalog, catalog.subscriptions.get(mode, subscription_id))
    if query.meter_id is not None:
        catalog.meters.get(mode, query.meter_id)
    periods = _periods(account, utc(clock.time_ns()), query)
    first = query.page.offset
    return UsageHistory(
        items=[
            PeriodUsage(
                start_date=period.start,
                end_date=period.end,
                meters=_meters(catalog, store, mode, account, period, query.meter_id),
            )
            for period in periods[first : first + query.page.size]
        ]
    )


def _periods(account: Account, now: datetime, query: HistoryQuery) -> list[Window]:
    found = []
    for whole in account.periods.until(now):
        if whole.start >= account.ends_at:
            continue
        period = Window(start=whole.start, end=min(whole.end, account.ends_at))
        too_early = query.start_date is not None and period.end <= in_utc(query.start_date)
        too_late = query.end_date is not None and period.start > in_utc(query.end_date)
        if not too_early and not too_late:
            found.append(period)
    return found


def _meters(
    catalog: Catalog,
    store: EventStore,
    mode: str,
    account: Account,
    period: Window,
    meter_id: str | None,
) -> list[MeterUsage]:
    final = catalog.invoices.find(mode, account.key, period.start)
    kept = {} if final is None else {line.meter_id: line.usage for line in final.lines}
    found = []
    for price in account.price.meters or ():
        if meter_id not in {None, price.meter_id}:
            continue
        meter = catalog.meters.get(mode, price.meter_id)
        span = Span(
            meter=meter, customer_id=account.customer_id, windows=account.windows(meter.id, period)
        )
        usage = kept.get(meter.id) or read_usage(store, span)
        found.append(_meter(meter.name, price, usage, account.price.currency))
    return found


def _meter(name: str, price: MeterPrice, usage: Usage, currency: str) -> MeterUsage:
    rated = rate(usage.quantity, price)
    return MeterUsage(
        id=price.meter_id,
        name=name,
        consumed_units=exact_text(rated.consumed),
        chargeable_units=exact_text(rated.chargeable),
        free_threshold=price.free_threshold or 0,
        price_per_unit=exact_text(price_per_raw_unit(price)),
        currency=currency,
        total_price=rated.amount,
    )
