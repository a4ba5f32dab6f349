"""Who pays for a response, and when that is known."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, Protocol

import msgspec

from streamgauge.core.clock import NS_PER_S, Clock
from streamgauge.core.errors import ConfigurationError
from streamgauge.sdk.groups import checked_group

Scope = MutableMapping[str, Any]
Customer = Callable[[Scope], str | Awaitable[str | None] | None]
"""Says who pays from the scope of a request; None: nobody."""

BILLING_KEY: Final = "streamgauge.billing"
"""Where the scope of a request keeps its ``Billing``."""

_LOG_INTERVAL_NS: Final = 60 * NS_PER_S
_LOGGER: Final = logging.getLogger("streamgauge")


class Payer(msgspec.Struct, frozen=True):
    """A customer, and what the bytes are."""

    customer_id: str
    metadata: Mapping[str, object]


class Billing(Protocol):
    """The response that ``bill_to`` finds in a scope."""

    def bill_to(self, payer: Payer) -> None:
        """Bill what is not billed yet, and what follows, to ``payer``."""
        ...


class HasScope(Protocol):
    """A Starlette or FastAPI ``Request`` or ``WebSocket``, or anything like it."""

    @property
    def scope(self) -> Scope:
        """Return the ASGI scope."""
        ...


def bill_to(
    request: HasScope | Scope,
    *,
    customer_id: str,
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Say who pays for this response; from an endpoint, a dependency or a WebSocket.

    Bytes of the response that were already sent to nobody's account are billed too. A second call
    bills what follows to its own customer and metadata.

    Args:
        request: A request or WebSocket, or its ASGI scope.
        customer_id: Who pays.
        metadata: What the bytes are, beside the middleware's own metadata.

    Raises:
        ConfigurationError: The application has no ``StreamBytesMiddleware``.
        InvalidInputError: A value breaks a rule; nothing changed.
    """
    # A Starlette request is a mapping too, but not a mutable one as a scope is.
    scope = request if isinstance(request, MutableMapping) else request.scope
    billing: Billing | None = scope.get(BILLING_KEY)
    if billing is None:
        raise ConfigurationError(
            "bill_to needs the middleware around the application: "
            "app.add_middleware(StreamBytesMiddleware, ingestion=ingestion)"
        )
    checked_group("", customer_id, metadata, measured=True)
    billing.bill_to(Payer(customer_id, dict(metadata or {})))


class Complaints:
    """Counts what went wrong and logs it at most once a minute.

    Attributes:
        count: How often something went wrong.
    """

    def __init__(self, clock: Clock) -> None:
        self.count = 0
        self._clock = clock
        self._quiet_until_ns = clock.monotonic_ns()

    def add(self, what: str, error: Exception) -> None:
        """Note that ``error`` kept ``what`` from happening."""
        self.count += 1
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._quiet_until_ns:
            self._quiet_until_ns = now_ns + _LOG_INTERVAL_NS
            _LOGGER.warning("%s (%d so far)", what, self.count, exc_info=error)
