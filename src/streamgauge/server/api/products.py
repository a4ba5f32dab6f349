"""``/products``: what usage costs."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from streamgauge.core.errors import UnsupportedError
from streamgauge.server.api.operation import Call, Operation
from streamgauge.server.api.paging import PageQuery, given, refuse
from streamgauge.server.api.product_answers import (
    ProductAnswer,
    ProductItem,
    ProductList,
    answer,
    item,
)
from streamgauge.server.catalog.products import NewProduct, TaxCategory
from streamgauge.server.catalog.texts import Labels
from streamgauge.server.rating.price import UsageBasedPrice

_UNSUPPORTED = (
    "addons",
    "credit_entitlements",
    "entitlements",
    "digital_product_delivery",
    "license_key_enabled",
    "brand_id",
)


class OneTimePrice(msgspec.Struct, frozen=True, tag_field="type", tag="one_time_price"):
    """Known to Dodo's API; not served here."""


class RecurringPrice(msgspec.Struct, frozen=True, tag_field="type", tag="recurring_price"):
    """Known to Dodo's API; not served here."""


AnyPrice = UsageBasedPrice | OneTimePrice | RecurringPrice


class ProductBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a product is made from; ``default_plan`` is ours."""

    name: str
    tax_category: TaxCategory
    price: AnyPrice
    description: str | None = None
    metadata: Labels = {}
    default_plan: bool = False
    addons: object = None
    credit_entitlements: object = None
    entitlements: object = None
    digital_product_delivery: object = None
    license_key_enabled: bool | None = None
    brand_id: str | None = None


class ProductPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What may change; null clears a description, and changes nothing else."""

    name: str | UnsetType | None = UNSET
    tax_category: TaxCategory | UnsetType | None = UNSET
    price: AnyPrice | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    metadata: Labels | UnsetType | None = UNSET
    default_plan: bool | UnsetType | None = UNSET
    addons: object = UNSET
    credit_entitlements: object = UNSET
    entitlements: object = UNSET
    digital_product_delivery: object = UNSET
    license_key_enabled: bool | UnsetType | None = UNSET
    brand_id: str | UnsetType | None = UNSET


class ProductQuery(PageQuery, frozen=True, kw_only=True):
    """Which products: archived ones, or those on sale."""

    archived: bool = False
    recurring: bool | None = None
    brand_id: str | None = None
    locale: str | None = None


async def create(call: Call) -> ProductAnswer:
    """Make a product."""
    body: ProductBody = call.body
    refuse(body, *_UNSUPPORTED)
    new = NewProduct(
        name=body.name,
        tax_category=body.tax_category,
        price=_usage_based(body.price),
        description=body.description,
        metadata=body.metadata,
        default_plan=body.default_plan,
    )
    catalog, mode = call.parts.catalog, call.caller.mode
    return await call.run(lambda: answer(catalog, catalog.products.create(mode, new)))


async def list_products(call: Call) -> ProductList:
    """Return a page of products, oldest first."""
    query: ProductQuery = call.query
    catalog, mode = call.parts.catalog, call.caller.mode

    def read() -> list[ProductItem]:
        # All of ours are of one brand, and recur.
        if query.recurring is False or query.brand_id not in {None, call.caller.business_id}:
            return []
        found = catalog.products.list(mode, archived=query.archived, page=query.page())
        return [item(catalog, product) for product in found]

    return ProductList(items=await call.run(read))


async def get(call: Call) -> ProductAnswer:
    """Return a product."""
    catalog, mode, id = call.parts.catalog, call.caller.mode, call.path["id"]
    return await call.run(lambda: answer(catalog, catalog.products.get(mode, id)))


async def patch(call: Call) -> None:
    """Change a product; subscriptions keep the price they began with."""
    refuse(call.body, *_UNSUPPORTED)
    changes = {
        name: value
        for name, value in given(call.body).items()
        if name not in _UNSUPPORTED and (value is not None or name == "description")
    }
    if "price" in changes:
        changes["price"] = _usage_based(call.body.price)
    catalog, mode, id = call.parts.catalog, call.caller.mode, call.path["id"]
    await call.run(catalog.products.update, mode, id, changes)


async def archive(call: Call) -> None:
    """Take a product off sale; its subscriptions go on."""
    await call.run(call.parts.catalog.products.archive, call.caller.mode, call.path["id"])


async def unarchive(call: Call) -> None:
    """Put a product back on sale."""
    await call.run(call.parts.catalog.products.unarchive, call.caller.mode, call.path["id"])


def _usage_based(price: AnyPrice) -> UsageBasedPrice:
    if not isinstance(price, UsageBasedPrice):
        raise UnsupportedError("only price.type usage_based_price is supported here yet")
    return price


OPERATIONS = (
    Operation(
        method="POST",
        path="/products",
        summary="Make a product with a usage-based price",
        tag="products",
        handler=create,
        body=ProductBody,
        response=ProductAnswer,
        needs="write",
    ),
    Operation(
        method="GET",
        path="/products",
        summary="List products",
        tag="products",
        handler=list_products,
        query=ProductQuery,
        response=ProductList,
    ),
    Operation(
        method="GET",
        path="/products/{id}",
        summary="Get a product",
        tag="products",
        handler=get,
        response=ProductAnswer,
    ),
    Operation(
        method="PATCH",
        path="/products/{id}",
        summary="Change a product",
        tag="products",
        handler=patch,
        body=ProductPatch,
        needs="write",
    ),
    Operation(
        method="DELETE",
        path="/products/{id}",
        summary="Archive a product",
        tag="products",
        handler=archive,
        needs="write",
    ),
    Operation(
        method="POST",
        path="/products/{id}/unarchive",
        summary="Unarchive a product",
        tag="products",
        handler=unarchive,
        needs="write",
    ),
)
