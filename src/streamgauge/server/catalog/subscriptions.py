"""Subscriptions: who is billed for which product, from when, at the price it had then."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, RowMapping, or_

from streamgauge.core.clock import Clock, utc
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.ids import Entropy, new_id
from streamgauge.core.limits import NAME_CHARS_MAX
from streamgauge.server.catalog.customers import Customers, NewCustomer
from streamgauge.server.catalog.database import Database
from streamgauge.server.catalog.errors import ArchivedProductError, QuantityError
from streamgauge.server.catalog.products import Products
from streamgauge.server.catalog.rows import Rows, plain
from streamgauge.server.catalog.schema import subscriptions
from streamgauge.server.catalog.texts import (
    EVERYTHING,
    Labels,
    Page,
    check_description,
    check_labels,
)
from streamgauge.server.rating.price import UsageBasedPrice

_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_LABELS: Final = msgspec.json.Decoder(Labels)


class SubscriptionStatus(StrEnum):
    """Where a subscription is in its life; the value is the word on the wire."""

    PENDING = "pending"
    ACTIVE = "active"
    ON_HOLD = "on_hold"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    FAILED = "failed"
    EXPIRED = "expired"
    PAST_DUE = "past_due"


class BillingAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the payer is; the country is two capital letters."""

    country: str
    city: str | None = None
    state: str | None = None
    street: str | None = None
    zipcode: str | None = None


LifeEnd = Callable[[datetime, UsageBasedPrice], datetime]
"""Gives the end of a subscription's whole life from its start and its price."""

_BILLING: Final = msgspec.json.Decoder(BillingAddress)
_PRICE: Final = msgspec.json.Decoder(UsageBasedPrice)


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's subscription to a product.

    Attributes:
        subscription_id: Begins with ``sub_``.
        business_id: Whose customer.
        mode: ``test_mode`` or ``live_mode``.
        customer_id: Who pays.
        product_id: For what.
        quantity: Always 1, since usage is what is counted.
        price: The product's at creation; later changes of the product leave it alone.
        billing: Where the payer is.
        metadata: Labels.
        started_at: Start of the first period; aware, on the UTC minute.
        expires_at: End of its whole life, from the price; aware.
        ends_at: When a cancellation takes effect; aware; None without one.
        cancelled_at: When the cancellation was asked for; aware.
        created_at: Aware.
        tax_id: For people.
        cancellation_comment: For people.
    """

    subscription_id: str
    business_id: str
    mode: str
    customer_id: str
    product_id: str
    quantity: int
    price: UsageBasedPrice
    billing: BillingAddress
    metadata: Labels
    started_at: datetime
    expires_at: datetime
    ends_at: datetime | None = None
    cancelled_at: datetime | None = None
    created_at: datetime
    tax_id: str | None = None
    cancellation_comment: str | None = None

    def status(self, now: datetime) -> SubscriptionStatus:
        """Return where it is in its life at ``now``."""
        if self.ends_at is not None and self.ends_at <= now:
            return SubscriptionStatus.CANCELLED
        if self.expires_at <= now:
            return SubscriptionStatus.EXPIRED
        return SubscriptionStatus.PENDING if self.started_at > now else SubscriptionStatus.ACTIVE


class NewSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscription is made from; the customer by id, or by address for a new one."""

    product_id: str
    quantity: int
    billing: BillingAddress
    started_at: datetime
    customer_id: str | None = None
    customer: NewCustomer | None = None
    metadata: Labels = {}
    tax_id: str | None = None


class SubscriptionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which subscriptions to list."""

    customer_id: str | None = None
    product_id: str | None = None
    status: SubscriptionStatus | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


class Subscriptions:
    """The subscriptions of a business."""

    def __init__(
        self,
        database: Database,
        business_id: str,
        customers: Customers,
        products: Products,
        *,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._rows = Rows(
            database, business_id, subscriptions, key="subscription_id", kind="subscription"
        )
        self._customers = customers
        self._products = products
        self._clock = clock
        self._entropy = entropy

    def create(self, mode: str, new: NewSubscription, *, life_end: LifeEnd) -> Subscription:
        """Make a subscription, and its customer if that is new.

        Args:
            mode: Of customer, product and subscription.
            new: What it is made from.
            life_end: Gives the end of its life from its start and price.

        Raises:
            InvalidInputError: A value breaks a rule.
            NotFoundError: The customer or the product does not exist.
        """
        _check(new)
        now_ns = self._clock.time_ns()
        id = new_id("sub", time_ns=lambda: now_ns, entropy=self._entropy)
        with self._rows.database.write() as connection:
            product = self._products.demand_within(connection, mode, new.product_id)
            if product.archived_at is not None:
                raise ArchivedProductError("product_id", new.product_id, "not be archived")
            if new.customer is not None:
                customer = self._customers.take_within(connection, mode, new.customer)
            else:
                customer = self._customers.demand_within(connection, mode, new.customer_id or "")
            row = {
                "mode": mode,
                "subscription_id": id,
                "customer_id": customer.customer_id,
                "product_id": product.product_id,
                "quantity": new.quantity,
                "price": msgspec.json.encode(product.price).decode(),
                "billing": msgspec.json.encode(new.billing).decode(),
                "metadata": msgspec.json.encode(new.metadata).decode(),
                "tax_id": new.tax_id,
                "started_at": new.started_at,
                "expires_at": life_end(new.started_at, product.price),
                "created_at": utc(now_ns),
            }
            self._rows.insert(connection, row)
            return _subscription(self._rows.demand(connection, mode, id))

    def get(self, mode: str, id: str) -> Subscription:
        """Return a subscription.

        Raises:
            NotFoundError: No subscription has this id.
        """
        return _subscription(self._rows.get(mode, id))

    def list(
        self, mode: str, which: SubscriptionFilter | None = None, page: Page = EVERYTHING
    ) -> list[Subscription]:
        """Return subscriptions, oldest first."""
        where = _conditions(which or SubscriptionFilter(), utc(self._clock.time_ns()))
        return [_subscription(row) for row in self._rows.list(mode, where, page)]

    def update(self, mode: str, id: str, changes: dict[str, object]) -> Subscription:
        """Change what is named in ``changes``: billing, metadata, tax_id, or the cancellation.

        Raises:
            InvalidInputError: A value breaks a rule.
            NotFoundError: No subscription has this id.
        """
        with self._rows.database.write() as connection:
            now = _subscription(self._rows.demand(connection, mode, id))
            wanted = msgspec.structs.replace(now, **changes)
            _check_texts(wanted.billing, wanted.metadata, wanted.tax_id)
            check_description(wanted.cancellation_comment, field="cancellation_comment")
            values = dict(changes)
            for field in values.keys() & {"billing", "metadata"}:
                values[field] = msgspec.json.encode(getattr(wanted, field)).decode()
            return _subscription(self._rows.update(connection, mode, id, values))


def _check(new: NewSubscription) -> None:
    if new.quantity != 1:
        raise QuantityError("quantity", new.quantity, "be 1 for a product billed by usage")
    _check_texts(new.billing, new.metadata, new.tax_id)


def _check_texts(billing: BillingAddress, labels: Labels, tax_id: str | None) -> None:
    _check_address(billing)
    check_labels(labels)
    if tax_id is not None and len(tax_id) > NAME_CHARS_MAX:
        raise InvalidInputError("tax_id", tax_id, f"have at most {NAME_CHARS_MAX} characters")


def _check_address(address: BillingAddress) -> None:
    if _COUNTRY.fullmatch(address.country) is None:
        raise InvalidInputError(
            "billing.country", address.country, "be two capital letters of ISO 3166"
        )
    for field in ("city", "state", "street", "zipcode"):
        text = getattr(address, field)
        if text is not None and len(text) > NAME_CHARS_MAX:
            raise InvalidInputError(
                f"billing.{field}", text, f"have at most {NAME_CHARS_MAX} characters"
            )


def _conditions(which: SubscriptionFilter, now: datetime) -> list[ColumnElement[bool]]:
    table, found = subscriptions.c, list[ColumnElement[bool]]()
    if which.customer_id is not None:
        found.append(table.customer_id == which.customer_id)
    if which.product_id is not None:
        found.append(table.product_id == which.product_id)
    if which.created_from is not None:
        found.append(table.created_at >= which.created_from)
    if which.created_to is not None:
        found.append(table.created_at <= which.created_to)
    if which.status is not None:
        found += _has_status(which.status, now)
    return found


def _has_status(status: SubscriptionStatus, now: datetime) -> list[ColumnElement[bool]]:
    """Return ``Subscription.status`` as conditions."""
    table = subscriptions.c
    if status is SubscriptionStatus.CANCELLED:
        return [table.ends_at <= now]
    kept: ColumnElement[bool] = or_(table.ends_at.is_(None), table.ends_at > now)
    if status is SubscriptionStatus.EXPIRED:
        return [kept, table.expires_at <= now]
    if status is SubscriptionStatus.ACTIVE:
        return [kept, table.expires_at > now, table.started_at <= now]
    if status is SubscriptionStatus.PENDING:
        return [kept, table.expires_at > now, table.started_at > now]
    # Ours never are on hold, paused, failed or past due.
    return [table.subscription_id.is_(None)]


def _subscription(row: RowMapping) -> Subscription:
    shaped = plain(
        row,
        price=_PRICE.decode(row["price"]),
        billing=_BILLING.decode(row["billing"]),
        metadata=_LABELS.decode(row["metadata"]),
    )
    return msgspec.convert(shaped, Subscription)
