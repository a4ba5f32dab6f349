"""Dodo's usage surface that is not here yet: each path answers 501 with its name."""

from __future__ import annotations

from typing import Final

from streamgauge.core.errors import UnsupportedError

_PATHS: Final = (
    "/addons",
    "/addons/{id}",
    "/checkouts",
    "/checkouts/preview",
    "/checkouts/{id}",
    "/credit-entitlements",
    "/credit-entitlements/{id}",
    "/credit-entitlements/{id}/balances",
    "/credit-entitlements/{id}/balances/{customer_id}",
    "/credit-entitlements/{id}/balances/{customer_id}/grants",
    "/credit-entitlements/{id}/balances/{customer_id}/ledger",
    "/credit-entitlements/{id}/balances/{customer_id}/ledger-entries",
    "/credit-entitlements/{id}/translations",
    "/credit-entitlements/{id}/translations/{locale}",
    "/credit-entitlements/{id}/undelete",
    "/customers/{customer_id}/credit-entitlements",
    "/customers/{customer_id}/customer-portal/session",
    "/customers/{customer_id}/emails",
    "/customers/{customer_id}/entitlement-grants",
    "/customers/{customer_id}/entitlements",
    "/customers/{customer_id}/payment-methods",
    "/customers/{customer_id}/wallets",
    "/customers/{customer_id}/wallets/ledger-entries",
    "/entitlements",
    "/entitlements/{id}",
    "/entitlements/{id}/grants",
    "/locales",
    "/meters/{id}/translations",
    "/meters/{id}/translations/{locale}",
    "/payments",
    "/payments/{payment_id}",
    "/payments/{payment_id}/line-items",
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
    "/webhooks",
    "/webhooks/{webhook_id}",
    "/webhooks/{webhook_id}/headers",
    "/webhooks/{webhook_id}/secret",
)


def refusals() -> tuple[tuple[str, UnsupportedError], ...]:
    """Return (path, error) of every path that is known and not served."""
    return tuple(
        (path, UnsupportedError(f"{path} of Dodo's API is not supported here yet"))
        for path in _PATHS
    )
