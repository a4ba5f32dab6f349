"""Where a response keeps who pays for it, and how the server has its own answers paid by nobody."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Protocol

import msgspec

BILLING_KEY: Final = "streamgauge.billing"
"""Where a scope, an environ or an aiohttp request keeps its ``Billing``."""


class Payer(msgspec.Struct, frozen=True):
    """A customer, and what the bytes are."""

    customer_id: str
    metadata: Mapping[str, object]


NOBODY: Final = Payer("", {})
"""Pays for what is never billed; no customer has an empty id."""


class Billing(Protocol):
    """The response that ``bill_to`` finds beside its request."""

    def bill_to(self, payer: Payer) -> None:
        """Bill what is not billed yet, and what follows, to ``payer``."""
        ...


def bill_nobody(scope: MutableMapping[str, Any]) -> None:
    """Have the response of ``scope`` billed to nobody, whatever middleware is around it."""
    billing: Billing | None = scope.get(BILLING_KEY)
    if billing is not None:
        billing.bill_to(NOBODY)
