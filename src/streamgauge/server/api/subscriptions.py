"""``/subscriptions``: who is billed for what, and what each period came to."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from streamgauge.core.clock import utc
from streamgauge.core.errors import ConflictError, InvalidInputError, UnsupportedError
from streamgauge.core.limits import EPOCH_EARLIEST_S
from streamgauge.server.api.operation import Call, Operation
from streamgauge.server.api.paging import PageQuery, given, refuse
from streamgauge.server.api.subscription_answers import (
    SubscriptionAnswer,
    SubscriptionList,
    SubscriptionMade,
    answer,
    details,
    next_billing_date,
)
from streamgauge.server.billing.periods import cycle
from streamgauge.server.catalog.customers import NewCustomer
from streamgauge.server.catalog.subscriptions import (
    BillingAddress,
    NewSubscription,
    Subscription,
    SubscriptionFilter,
    SubscriptionStatus,
)
from streamgauge.server.catalog.texts import Labels
from streamgauge.server.metering.windows import floor_minute, in_utc
from streamgauge.server.rating.price import UsageBasedPrice

_EARLIEST: Final = utc(EPOCH_EARLIEST_S * 1_000_000_000)
_AHEAD_MAX: Final = timedelta(days=366)


class AddonsError(InvalidInputError):
    """Add-ons do not go with usage."""

    code = "ADDONS_IN_USAGE_BASED_BILLING_NOT_SUPPORTED"


class OnDemandError(InvalidInputError):
    """Charges on demand do not go with usage."""

    code = "ON_DEMAND_USAGE_BASED_BILLING_NOT_SUPPORTED"


class CustomerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An existing customer by ``customer_id``, or one by ``email``, made if it is new."""

    customer_id: str | None = None
    email: str | None = None
    name: str | None = None
    phone_number: str | None = None


class SubscriptionBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscription is made from; ``start_date`` is ours, now by default."""

    billing: BillingAddress
    customer: CustomerRequest
    product_id: str
    quantity: int
    start_date: datetime | None = None
    metadata: Labels = {}
    tax_id: str | None = None
    addons: object = None
    on_demand: object = None
    discount_code: object = None
    discount_codes: object = None
    one_time_product_cart: object = None
    trial_period_days: object = None
    billing_currency: object = None


class SubscriptionQuery(PageQuery, frozen=True, kw_only=True):
    """Which subscriptions."""

    customer_id: str | None = None
    product_id: str | None = None
    status: SubscriptionStatus | None = None
    created_at_gte: datetime | None = None
    created_at_lte: datetime | None = None
    brand_id: str | None = None
    locale: str | None = None


class SubscriptionPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What may change: texts, and the cancellation, at once or at the end of the period."""

    billing: BillingAddress | UnsetType | None = UNSET
    metadata: Labels | UnsetType | None = UNSET
    tax_id: str | UnsetType | None = UNSET
    status: SubscriptionStatus | UnsetType | None = UNSET
    cancel_at_next_billing_date: bool | UnsetType | None = UNSET
    cancellation_comment: str | UnsetType | None = UNSET
    next_billing_date: object = UNSET
    pause: object = UNSET
    credit_entitlement_cart: object = UNSET
    disable_on_demand: object = UNSET
    subscription_period_count: object = UNSET
    subscription_period_interval: object = UNSET


async def create(call: Call) -> SubscriptionMade:
    """Make a subscription from the UTC minute of its start."""
    body: SubscriptionBody = call.body
    if body.addons:
        raise AddonsError("addons", body.addons, "be left out: the product is billed by usage")
    if body.on_demand:
        raise OnDemandError("on_demand", body.on_demand, "be left out: usage is billed by period")
    refuse(
        body,
        "discount_code",
        "discount_codes",
        "one_time_product_cart",
        "trial_period_days",
        "billing_currency",
    )
    now = utc(call.parts.clock.time_ns())
    new = NewSubscription(
        product_id=body.product_id,
        quantity=body.quantity,
        billing=body.billing,
        started_at=_start(body.start_date or now, now),
        customer_id=body.customer.customer_id,
        customer=_new_customer(body.customer),
        metadata=body.metadata,
        tax_id=body.tax_id,
    )
    catalog, mode = call.parts.catalog, call.caller.mode

    def make() -> SubscriptionMade:
        made = catalog.subscriptions.create(mode, new, life_end=_life_end)
        customer = catalog.customers.get(mode, made.customer_id)
        return SubscriptionMade(
            subscription_id=made.subscription_id,
            payment_id=made.subscription_id.replace("sub_", "pay_", 1),
            customer=details(customer),
            metadata=made.metadata,
            recurring_pre_tax_amount=made.price.fixed_price,
        )

    return await call.run(make)


async def list_subscriptions(call: Call) -> SubscriptionList:
    """Return a page of subscriptions, oldest first."""
    query: SubscriptionQuery = call.query
    which = SubscriptionFilter(
        customer_id=query.customer_id,
        product_id=query.product_id,
        status=query.status,
        created_from=query.created_at_gte,
        created_to=query.created_at_lte,
    )
    catalog, mode, now = call.parts.catalog, call.caller.mode, utc(call.parts.clock.time_ns())

    def read() -> list[SubscriptionAnswer]:
        if query.brand_id not in {None, call.caller.business_id}:
            return []
        found = catalog.subscriptions.list(mode, which, query.page())
        return [answer(catalog, subscription, now) for subscription in found]

    return SubscriptionList(items=await call.run(read))


async def get(call: Call) -> SubscriptionAnswer:
    """Return a subscription."""
    catalog, mode, now = call.parts.catalog, call.caller.mode, utc(call.parts.clock.time_ns())
    id = call.path["subscription_id"]
    return await call.run(lambda: answer(catalog, catalog.subscriptions.get(mode, id), now))


async def patch(call: Call) -> SubscriptionAnswer:
    """Change texts, or cancel."""
    refuse(
        call.body,
        "next_billing_date",
        "pause",
        "credit_entitlement_cart",
        "disable_on_demand",
        "subscription_period_count",
        "subscription_period_interval",
    )
    catalog, mode, now = call.parts.catalog, call.caller.mode, utc(call.parts.clock.time_ns())
    id = call.path["subscription_id"]

    def change() -> SubscriptionAnswer:
        changes = _changes(call.body, catalog.subscriptions.get(mode, id), now)
        return answer(catalog, catalog.subscriptions.update(mode, id, changes), now)

    return await call.run(change)


def _start(wanted: datetime, now: datetime) -> datetime:
    start = floor_minute(in_utc(wanted, field="start_date"))
    if not _EARLIEST <= start <= now + _AHEAD_MAX:
        raise InvalidInputError("start_date", wanted.isoformat(), "be from 2015 to a year from now")
    return start


def _new_customer(request: CustomerRequest) -> NewCustomer | None:
    if request.customer_id is not None:
        return None
    if request.email is None:
        raise InvalidInputError("customer", None, "have a customer_id, or an email")
    return NewCustomer(
        email=request.email,
        name=request.name or request.email,
        phone_number=request.phone_number,
    )


def _life_end(started_at: datetime, price: UsageBasedPrice) -> datetime:
    life = cycle(started_at, price.subscription_period_interval, price.subscription_period_count)
    return life.bound(1)


def _changes(patch: SubscriptionPatch, of: Subscription, now: datetime) -> dict[str, object]:
    """Return the catalog's changes for what was sent; null changes nothing but texts."""
    sent = given(patch)
    changes = {
        name: sent[name] for name in ("billing", "metadata") if sent.get(name) is not None
    } | {name: sent[name] for name in ("tax_id", "cancellation_comment") if name in sent}
    status, at_end = sent.get("status"), sent.get("cancel_at_next_billing_date")
    if status is None and at_end is None:
        return changes
    if of.status(now) in {SubscriptionStatus.CANCELLED, SubscriptionStatus.EXPIRED}:
        raise ConflictError(f"subscription {of.subscription_id!r} has ended")
    if status is SubscriptionStatus.CANCELLED:
        return changes | {"ends_at": floor_minute(now), "cancelled_at": now}
    if status not in {None, of.status(now)}:
        raise UnsupportedError("status may only be set to cancelled here yet")
    if at_end is True:
        return changes | {"ends_at": next_billing_date(of, now), "cancelled_at": now}
    if at_end is False:
        return changes | {"ends_at": None, "cancelled_at": None}
    return changes


OPERATIONS = (
    Operation(
        method="POST",
        path="/subscriptions",
        summary="Make a subscription",
        tag="subscriptions",
        handler=create,
        body=SubscriptionBody,
        response=SubscriptionMade,
        needs="write",
    ),
    Operation(
        method="GET",
        path="/subscriptions",
        summary="List subscriptions",
        tag="subscriptions",
        handler=list_subscriptions,
        query=SubscriptionQuery,
        response=SubscriptionList,
    ),
    Operation(
        method="GET",
        path="/subscriptions/{subscription_id}",
        summary="Get a subscription",
        tag="subscriptions",
        handler=get,
        response=SubscriptionAnswer,
    ),
    Operation(
        method="PATCH",
        path="/subscriptions/{subscription_id}",
        summary="Change or cancel a subscription",
        tag="subscriptions",
        handler=patch,
        body=SubscriptionPatch,
        response=SubscriptionAnswer,
        needs="write",
    ),
)
