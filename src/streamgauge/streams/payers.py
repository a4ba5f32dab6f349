"""Who pays for a response, said from inside of the application."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from streamgauge.core.clock import NS_PER_S, Clock
from streamgauge.core.errors import ConfigurationError
from streamgauge.core.payers import BILLING_KEY, Billing, Payer
from streamgauge.sdk.groups import checked_group
from streamgauge.streams.frameworks import Billable, view_of

__all__ = ["BILLING_KEY", "Billing", "Complaints", "Payer", "bill_to"]

_LOG_INTERVAL_NS: Final = 60 * NS_PER_S
_LOGGER: Final = logging.getLogger("streamgauge")


def bill_to(
    request: Billable,
    *,
    customer_id: str,
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Say who pays for this response; from an endpoint, a dependency or a WebSocket.

    Bytes of the response that were already sent to nobody's account are billed too. A second call
    bills what follows to its own customer and metadata.

    Args:
        request: A request or WebSocket of Starlette or FastAPI; a request of Django, Flask or
            aiohttp; an ASGI scope or a WSGI environ.
        customer_id: Who pays.
        metadata: What the bytes are, beside the middleware's own metadata.

    Raises:
        ConfigurationError: No middleware of streamgauge is around the application.
        InvalidInputError: A value breaks a rule; nothing changed.
    """
    billing: Billing | None = view_of(request).raw.get(BILLING_KEY)
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
