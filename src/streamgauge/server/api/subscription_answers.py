"""Subscriptions as they stand on the wire."""

from __future__ import annotations

from datetime import datetime

import msgspec

from streamgauge.server.billing.periods import Cycle, cycle
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.customers import Customer
from streamgauge.server.catalog.subscriptions import (
    BillingAddress,
    Subscription,
    SubscriptionStatus,
)
from streamgauge.server.catalog.texts import Labels
from streamgauge.server.rating.price import Interval


class CustomerDetails(msgspec.Struct, frozen=True, kw_only=True):
    """The customer inside a subscription."""

    customer_id: str
    email: str
    name: str
    metadata: Labels
    phone_number: str | None


class SubscriptionMeter(msgspec.Struct, frozen=True, kw_only=True):
    """A meter of a subscription and its price; ``price_unit`` is ours."""

    meter_id: str
    name: str
    description: str | None
    measurement_unit: str
    currency: str
    free_threshold: int
    price_per_unit: str | None
    price_unit: str | None


class SubscriptionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription with Dodo's required fields; ``start_date`` is ours."""

    subscription_id: str
    business_id: str
    brand_id: str
    customer: CustomerDetails
    product_id: str
    product_name: str
    quantity: int
    status: SubscriptionStatus
    billing: BillingAddress
    metadata: Labels
    currency: str
    recurring_pre_tax_amount: int
    tax_inclusive: bool
    tax_id: str | None
    meters: list[SubscriptionMeter]
    payment_frequency_count: int
    payment_frequency_interval: Interval
    subscription_period_count: int
    subscription_period_interval: Interval
    start_date: datetime
    previous_billing_date: datetime
    next_billing_date: datetime
    expires_at: datetime
    created_at: datetime
    cancel_at_next_billing_date: bool
    cancelled_at: datetime | None
    cancellation_comment: str | None
    addons: tuple[str, ...] = ()
    discounts: tuple[str, ...] = ()
    credit_entitlement_cart: tuple[str, ...] = ()
    meter_credit_entitlement_cart: tuple[str, ...] = ()
    has_payment_method: bool = False
    on_demand: bool = False
    trial_period_days: int = 0


class SubscriptionList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of subscriptions."""

    items: list[SubscriptionAnswer]


class SubscriptionMade(msgspec.Struct, frozen=True, kw_only=True):
    """What making a subscription answers; nothing is charged here, so no payment is required."""

    subscription_id: str
    payment_id: str
    customer: CustomerDetails
    metadata: Labels
    recurring_pre_tax_amount: int
    addons: tuple[str, ...] = ()
    payment_method_required: bool = False


def periods(subscription: Subscription) -> Cycle:
    """Return the billing periods of a subscription."""
    price = subscription.price
    return cycle(
        subscription.started_at, price.payment_frequency_interval, price.payment_frequency_count
    )


def next_billing_date(subscription: Subscription, now: datetime) -> datetime:
    """Return the end of the period that holds ``now``; of the first one before the start."""
    found = periods(subscription)
    return found.bound(max(found.holding(now), 0) + 1)


def details(customer: Customer) -> CustomerDetails:
    """Return the customer as it stands inside a subscription."""
    return CustomerDetails(
        customer_id=customer.customer_id,
        email=customer.email,
        name=customer.name,
        metadata=customer.metadata,
        phone_number=customer.phone_number,
    )


def answer(catalog: Catalog, subscription: Subscription, now: datetime) -> SubscriptionAnswer:
    """Return a subscription as it stands on the wire at ``now``."""
    mode, price, found = subscription.mode, subscription.price, periods(subscription)
    status = subscription.status(now)
    ends_later = subscription.ends_at is not None and status is not SubscriptionStatus.CANCELLED
    return SubscriptionAnswer(
        subscription_id=subscription.subscription_id,
        business_id=subscription.business_id,
        brand_id=subscription.business_id,
        customer=details(catalog.customers.get(mode, subscription.customer_id)),
        product_id=subscription.product_id,
        product_name=catalog.products.get(mode, subscription.product_id).name,
        quantity=subscription.quantity,
        status=status,
        billing=subscription.billing,
        metadata=subscription.metadata,
        currency=price.currency,
        recurring_pre_tax_amount=price.fixed_price,
        tax_inclusive=bool(price.tax_inclusive),
        tax_id=subscription.tax_id,
        meters=_meters(catalog, subscription),
        payment_frequency_count=price.payment_frequency_count,
        payment_frequency_interval=price.payment_frequency_interval,
        subscription_period_count=price.subscription_period_count,
        subscription_period_interval=price.subscription_period_interval,
        start_date=subscription.started_at,
        previous_billing_date=found.bound(max(found.holding(now), 0)),
        next_billing_date=next_billing_date(subscription, now),
        expires_at=subscription.expires_at,
        created_at=subscription.created_at,
        cancel_at_next_billing_date=ends_later,
        cancelled_at=subscription.cancelled_at,
        cancellation_comment=subscription.cancellation_comment,
    )


def _meters(catalog: Catalog, subscription: Subscription) -> list[SubscriptionMeter]:
    shown = []
    for charge in subscription.price.meters or ():
        meter = catalog.meters.get(subscription.mode, charge.meter_id)
        shown.append(
            SubscriptionMeter(
                meter_id=meter.id,
                name=meter.name,
                description=meter.description,
                measurement_unit=meter.measurement_unit,
                currency=subscription.price.currency,
                free_threshold=charge.free_threshold or 0,
                price_per_unit=charge.price_per_unit,
                price_unit=charge.price_unit,
            )
        )
    return shown
