"""Products with a usage-based price, in Dodo Payments' shape, and the default plans."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping

from streamgauge.core.clock import Clock, utc
from streamgauge.core.ids import Entropy, new_id
from streamgauge.server.catalog.database import Database
from streamgauge.server.catalog.errors import ArchivedError, ArchivedMeterError, MissingMeterError
from streamgauge.server.catalog.meters import Meters
from streamgauge.server.catalog.rows import Rows, plain
from streamgauge.server.catalog.schema import products
from streamgauge.server.catalog.texts import (
    EVERYTHING,
    Labels,
    Page,
    check_description,
    check_labels,
    check_name,
)
from streamgauge.server.rating.price import UsageBasedPrice, check_price

_PRICE: Final = msgspec.json.Decoder(UsageBasedPrice)
_LABELS: Final = msgspec.json.Decoder(Labels)


class TaxCategory(StrEnum):
    """What is sold, for taxes; the value is the word on the wire."""

    DIGITAL_PRODUCTS = "digital_products"
    SAAS = "saas"
    E_BOOK = "e_book"
    EDTECH = "edtech"
    LIVE_TUTORING = "live_tutoring"


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """Something sold by usage.

    Attributes:
        product_id: Begins with ``pdt_``.
        business_id: Whose product.
        mode: ``test_mode`` or ``live_mode``.
        name: For people.
        tax_category: What is sold, for taxes.
        price: What usage costs.
        created_at: Aware.
        updated_at: Aware.
        description: For people.
        metadata: Labels.
        default_plan: Ours: bills every customer, also without a subscription.
        archived_at: Aware; None while it is on sale.
    """

    product_id: str
    business_id: str
    mode: str
    name: str
    tax_category: TaxCategory
    price: UsageBasedPrice
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    metadata: Labels = {}
    default_plan: bool = False
    archived_at: datetime | None = None


class NewProduct(msgspec.Struct, frozen=True, kw_only=True):
    """What a product is made from."""

    name: str
    tax_category: TaxCategory
    price: UsageBasedPrice
    description: str | None = None
    metadata: Labels = {}
    default_plan: bool = False


class Products:
    """The products of a business."""

    def __init__(
        self,
        database: Database,
        business_id: str,
        meters: Meters,
        *,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._rows = Rows(database, business_id, products, key="product_id", kind="product")
        self._meters = meters
        self._clock = clock
        self._entropy = entropy

    def create(self, mode: str, new: NewProduct) -> Product:
        """Make a product.

        Raises:
            InvalidInputError: A value breaks a rule, or a meter is unknown or archived.
        """
        with self._rows.database.write() as connection:
            return self.create_within(connection, mode, new)

    def create_within(self, connection: Connection, mode: str, new: NewProduct) -> Product:
        """Make a product in the caller's transaction; raises as ``create`` does."""
        now_ns = self._clock.time_ns()
        id = new_id("pdt", time_ns=lambda: now_ns, entropy=self._entropy)
        price = check_price(new.price)
        row = {
            "mode": mode,
            "product_id": id,
            "name": check_name(new.name, field="name"),
            "description": check_description(new.description),
            "tax_category": new.tax_category.value,
            "price": msgspec.json.encode(price).decode(),
            "metadata": msgspec.json.encode(check_labels(new.metadata)).decode(),
            "default_plan": new.default_plan,
            "created_at": utc(now_ns),
            "updated_at": utc(now_ns),
        }
        self._check_meters(connection, mode, price)
        self._rows.insert(connection, row)
        return _product(self._rows.demand(connection, mode, id))

    def get(self, mode: str, id: str) -> Product:
        """Return a product, an archived one too.

        Raises:
            NotFoundError: No product has this id.
        """
        return _product(self._rows.get(mode, id))

    def demand_within(self, connection: Connection, mode: str, id: str) -> Product:
        """Return a product in the caller's transaction; raises as ``get`` does."""
        return _product(self._rows.demand(connection, mode, id))

    def default_plans(self, mode: str) -> list[Product]:
        """Return the products that bill every customer, oldest first, without archived ones."""
        where = [products.c.default_plan.is_(True), products.c.archived_at.is_(None)]
        return [_product(row) for row in self._rows.list(mode, where, EVERYTHING)]

    def list(
        self, mode: str, *, archived: bool | None = None, page: Page = EVERYTHING
    ) -> list[Product]:
        """Return products, oldest first; archived ones, others, or both if None."""
        where = list[ColumnElement[bool]]()
        if archived is not None:
            column = products.c.archived_at
            where.append(column.is_not(None) if archived else column.is_(None))
        return [_product(row) for row in self._rows.list(mode, where, page)]

    def update(self, mode: str, id: str, changes: dict[str, object]) -> Product:
        """Change what is named in ``changes``; subscriptions keep the price they began with.

        Raises:
            InvalidInputError: A value breaks a rule.
            NotFoundError: No product has this id.
        """
        with self._rows.database.write() as connection:
            return self.update_within(connection, mode, id, changes)

    def update_within(
        self, connection: Connection, mode: str, id: str, changes: dict[str, object]
    ) -> Product:
        """Change a product in the caller's transaction; raises as ``update`` does."""
        now = _product(self._rows.demand(connection, mode, id))
        wanted = msgspec.structs.replace(now, **changes)
        values: dict[str, object] = {
            "name": check_name(wanted.name, field="name"),
            "description": check_description(wanted.description),
            "tax_category": wanted.tax_category.value,
            "metadata": msgspec.json.encode(check_labels(wanted.metadata)).decode(),
            "default_plan": wanted.default_plan,
            "updated_at": utc(self._clock.time_ns()),
        }
        if "price" in changes:
            price = check_price(wanted.price)
            self._check_meters(connection, mode, price)
            values["price"] = msgspec.json.encode(price).decode()
        return _product(self._rows.update(connection, mode, id, values))

    def archive(self, mode: str, id: str) -> Product:
        """Take a product off sale; its subscriptions go on.

        Raises:
            NotFoundError: No product has this id.
            ArchivedError: It is archived already.
        """
        with self._rows.database.write() as connection:
            if self._rows.demand(connection, mode, id)["archived_at"] is not None:
                raise ArchivedError(f"product {id!r} is archived already")
            values = {"archived_at": utc(self._clock.time_ns())}
            return _product(self._rows.update(connection, mode, id, values))

    def unarchive(self, mode: str, id: str) -> Product:
        """Put a product back on sale.

        Raises:
            NotFoundError: No product has this id.
        """
        with self._rows.database.write() as connection:
            return _product(self._rows.update(connection, mode, id, {"archived_at": None}))

    def _check_meters(self, connection: Connection, mode: str, price: UsageBasedPrice) -> None:
        for index, charge in enumerate(price.meters or ()):
            field = f"price.meters[{index}].meter_id"
            meter = self._meters.find_within(connection, mode, charge.meter_id)
            if meter is None:
                raise MissingMeterError(field, charge.meter_id, "be the id of a meter")
            if meter.archived_at is not None:
                raise ArchivedMeterError(field, charge.meter_id, "not be archived")


def _product(row: RowMapping) -> Product:
    shaped = plain(
        row,
        price=_PRICE.decode(row["price"]),
        metadata=_LABELS.decode(row["metadata"]),
    )
    return msgspec.convert(shaped, Product)
