"""Who is billed for what: subscriptions, and default plans where no subscription bills a meter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from streamgauge.core.errors import InvalidInputError
from streamgauge.server.billing.periods import CALENDAR_MONTHS, Cycle, cycle, period_at
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.products import Product
from streamgauge.server.catalog.subscriptions import Subscription, SubscriptionFilter
from streamgauge.server.metering.windows import Window, floor_minute, without
from streamgauge.server.rating.price import UsageBasedPrice

_FAR: Final = datetime(9999, 1, 1, tzinfo=UTC)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One customer's bill for one product, period after period.

    Attributes:
        key: The same in every period, and no other account's.
        customer_id: Who pays.
        subscription_id: None under a default plan.
        product_id: For what.
        product_name: For people.
        price: What it costs.
        periods: Its periods.
        ends_at: The first instant that is not billed any more.
        billed_elsewhere: Windows by meter that another plan of the customer's bills.
    """

    key: str
    customer_id: str
    subscription_id: str | None = None
    product_id: str
    product_name: str
    price: UsageBasedPrice
    periods: Cycle
    ends_at: datetime = _FAR
    billed_elsewhere: Mapping[str, tuple[Window, ...]] = {}

    def covers(self, at: datetime) -> bool:
        """Return whether some period holds ``at``."""
        return self.periods.anchor <= at < self.ends_at

    def period(self, at: datetime) -> Window:
        """Return the period that holds ``at``; the last one is cut where the account ends.

        Raises:
            InvalidInputError: The account has no period then.
        """
        if at >= self.ends_at:
            raise InvalidInputError(
                "at", at.isoformat(), f"be before the end, {self.ends_at.isoformat()}"
            )
        period = period_at(self.periods, at)
        return Window(start=period.start, end=min(period.end, self.ends_at))

    def ended_period(self, now: datetime) -> Window | None:
        """Return the newest period that has ended, or None."""
        last = min(now, self.ends_at)
        number = self.periods.holding(last)
        for candidate in (number, number - 1):
            start, end = self.periods.bound(candidate), self.periods.bound(candidate + 1)
            if candidate >= 0 and start < min(end, self.ends_at) <= now:
                return Window(start=start, end=min(end, self.ends_at))
        return None

    def windows(self, meter_id: str, period: Window) -> tuple[Window, ...]:
        """Return the parts of ``period`` in which this account bills a meter."""
        return without(period, self.billed_elsewhere.get(meter_id, ()))


def of_subscription(catalog: Catalog, subscription: Subscription) -> Account:
    """Return the account of a subscription."""
    price = subscription.price
    product = catalog.products.get(subscription.mode, subscription.product_id)
    return Account(
        key=subscription.subscription_id,
        customer_id=subscription.customer_id,
        subscription_id=subscription.subscription_id,
        product_id=subscription.product_id,
        product_name=product.name,
        price=price,
        periods=cycle(
            subscription.started_at,
            price.payment_frequency_interval,
            price.payment_frequency_count,
        ),
        ends_at=_end(subscription),
        billed_elsewhere=_billed_finally(catalog, subscription),
    )


def of_customer(catalog: Catalog, mode: str, customer_id: str) -> list[Account]:
    """Return every account of a customer, also of one that only events know."""
    own = catalog.subscriptions.list(mode, SubscriptionFilter(customer_id=customer_id))
    elsewhere = _billed(own)
    defaults = [
        _of_default_plan(product, customer_id, elsewhere)
        for product in catalog.products.list(mode)
        if product.default_plan
    ]
    return [of_subscription(catalog, subscription) for subscription in own] + defaults


def _of_default_plan(
    product: Product, customer_id: str, elsewhere: Mapping[str, tuple[Window, ...]]
) -> Account:
    return Account(
        key=f"default:{product.product_id}:{customer_id}",
        customer_id=customer_id,
        product_id=product.product_id,
        product_name=product.name,
        price=product.price,
        periods=CALENDAR_MONTHS,
        # What was used before it was taken off sale is still owed.
        ends_at=_FAR if product.archived_at is None else floor_minute(product.archived_at),
        billed_elsewhere=elsewhere,
    )


def _billed(own: Sequence[Subscription]) -> dict[str, tuple[Window, ...]]:
    """Return by meter when a customer's own subscriptions bill it: a byte is billed by one plan."""
    found: dict[str, tuple[Window, ...]] = {}
    for subscription in own:
        start, end = floor_minute(subscription.started_at), _end(subscription)
        if start >= end:
            continue
        for meter in subscription.price.meters or ():
            window = Window(start=start, end=end)
            found[meter.meter_id] = (*found.get(meter.meter_id, ()), window)
    return found


def _billed_finally(catalog: Catalog, subscription: Subscription) -> dict[str, tuple[Window, ...]]:
    """Return by meter what default plans billed before the subscription was dated back over it."""
    found: dict[str, tuple[Window, ...]] = {}
    for invoice in catalog.invoices.list(subscription.mode, customer_id=subscription.customer_id):
        for line in invoice.lines:
            if invoice.subscription_id is None and line.meter_id is not None:
                found[line.meter_id] = (*found.get(line.meter_id, ()), *line.windows)
    return found


def _end(subscription: Subscription) -> datetime:
    ends = [subscription.expires_at]
    if subscription.ends_at is not None:
        ends.append(subscription.ends_at)
    return floor_minute(min(ends))
