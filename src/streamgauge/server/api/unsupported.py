"""Dodo's API that is not here yet: each path answers 501 with its name."""

from __future__ import annotations

from typing import Final

# Resources of which nothing is here.
_WHOLE: Final = (
    "addons",
    "balances",
    "blocklist",
    "brands",
    "checkout",
    "checkouts",
    "credit-entitlements",
    "discounts",
    "disputes",
    "entitlements",
    "grants",
    "invoices",
    "license_key_instances",
    "license_keys",
    "licenses",
    "locales",
    "moderation",
    "payments",
    "payouts",
    "product-collections",
    "refunds",
    "webhooks",
)
# It would be taken for a product's id, so its route comes before that of products.
BEFORE_SERVED: Final = ("/products/short_links",)
# The rest of those of which something is.
_PATHS: Final = (
    "/customers/{customer_id}/credit-entitlements",
    "/customers/{customer_id}/customer-portal/session",
    "/customers/{customer_id}/emails",
    "/customers/{customer_id}/emails/{id}/body",
    "/customers/{customer_id}/entitlement-grants",
    "/customers/{customer_id}/entitlements",
    "/customers/{customer_id}/payment-methods",
    "/customers/{customer_id}/payment-methods/{id}",
    "/customers/{customer_id}/wallets",
    "/customers/{customer_id}/wallets/ledger-entries",
    "/meters/{id}/translations",
    "/meters/{id}/translations/{locale}",
    "/products/{id}/files",
    "/products/{id}/images",
    "/products/{id}/short_links",
    "/products/{id}/translations",
    "/products/{id}/translations/{locale}",
    "/products/{product_id}/localized-prices",
    "/products/{product_id}/localized-prices/{id}",
    "/subscriptions/{subscription_id}/change-plan",
    "/subscriptions/{subscription_id}/change-plan/preview",
    "/subscriptions/{subscription_id}/change-plan/scheduled",
    "/subscriptions/{subscription_id}/charge",
    "/subscriptions/{subscription_id}/credit-usage",
    "/subscriptions/{subscription_id}/update-payment-method",
)


def unsupported_paths() -> tuple[str, ...]:
    """Return every other path that is known and not served; what is served comes before them."""
    below = (f"/{name}{rest}" for name in _WHOLE for rest in ("", "/{rest:path}"))
    return (*below, *_PATHS)
