"""Products as they stand on the wire."""

from __future__ import annotations

from datetime import datetime

import msgspec

from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.products import Product, TaxCategory
from streamgauge.server.catalog.texts import Labels
from streamgauge.server.rating.price import UsageBasedPrice


class ProductAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A product as it stands on the wire; ``default_plan`` is ours."""

    product_id: str
    business_id: str
    brand_id: str
    name: str
    description: str | None
    tax_category: TaxCategory
    price: UsageBasedPrice
    metadata: Labels
    default_plan: bool
    created_at: datetime
    updated_at: datetime
    is_recurring: bool = True
    license_key_enabled: bool = False
    credit_entitlements: tuple[str, ...] = ()
    entitlements: tuple[str, ...] = ()


class ProductItem(msgspec.Struct, frozen=True, kw_only=True):
    """A product in a list, where Dodo's ``price`` is the fixed one alone."""

    product_id: str
    business_id: str
    name: str
    description: str | None
    tax_category: TaxCategory
    currency: str
    price: int
    price_detail: UsageBasedPrice
    metadata: Labels
    default_plan: bool
    created_at: datetime
    updated_at: datetime
    tax_inclusive: bool | None = None
    is_recurring: bool = True
    entitlements: tuple[str, ...] = ()


class ProductList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of products."""

    items: list[ProductItem]


def answer(catalog: Catalog, product: Product) -> ProductAnswer:
    """Return a product as it stands on the wire."""
    return ProductAnswer(
        product_id=product.product_id,
        business_id=product.business_id,
        brand_id=product.business_id,
        name=product.name,
        description=product.description,
        tax_category=product.tax_category,
        price=_with_meters(catalog, product.mode, product.price),
        metadata=product.metadata,
        default_plan=product.default_plan,
        created_at=product.created_at,
        updated_at=product.updated_at,
    )


def item(catalog: Catalog, product: Product) -> ProductItem:
    """Return a product as lists have it."""
    return ProductItem(
        product_id=product.product_id,
        business_id=product.business_id,
        name=product.name,
        description=product.description,
        tax_category=product.tax_category,
        currency=product.price.currency,
        price=product.price.fixed_price,
        price_detail=_with_meters(catalog, product.mode, product.price),
        metadata=product.metadata,
        default_plan=product.default_plan,
        created_at=product.created_at,
        updated_at=product.updated_at,
        tax_inclusive=product.price.tax_inclusive,
    )


def _with_meters(catalog: Catalog, mode: str, price: UsageBasedPrice) -> UsageBasedPrice:
    """Return ``price`` with the names of its meters, as answers have them."""
    priced = []
    for charge in price.meters or ():
        meter = catalog.meters.get(mode, charge.meter_id)
        named = msgspec.structs.replace(
            charge,
            name=meter.name,
            description=meter.description,
            measurement_unit=meter.measurement_unit,
        )
        priced.append(named)
    return msgspec.structs.replace(price, meters=tuple(priced))
