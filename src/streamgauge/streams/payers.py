"""Who pays for a response, and when that is known."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Protocol

import msgspec

from streamgauge.core.clock import NS_PER_S, Clock
from streamgauge.core.errors import ConfigurationError, InvalidInputError
from streamgauge.sdk.groups import checked_group
from streamgauge.streams.requests import Environ, Scope

BILLING_KEY: Final = "streamgauge.billing"
"""Where a scope, an environ or an aiohttp request keeps its ``Billing``."""

_LOG_INTERVAL_NS: Final = 60 * NS_PER_S
_LOGGER: Final = logging.getLogger("streamgauge")


class Payer(msgspec.Struct, frozen=True):
    """A customer, and what the bytes are."""

    customer_id: str
    metadata: Mapping[str, object]


class Billing(Protocol):
    """The response that ``bill_to`` finds beside its request."""

    def bill_to(self, payer: Payer) -> None:
        """Bill what is not billed yet, and what follows, to ``payer``."""
        ...


class HasScope(Protocol):
    """A Starlette or FastAPI ``Request`` or ``WebSocket``, or anything like it."""

    @property
    def scope(self) -> Scope:
        """Return the ASGI scope."""
        ...


class HasEnviron(Protocol):
    """A Flask ``request``, or that of any WSGI framework."""

    @property
    def environ(self) -> Environ:
        """Return the WSGI environ."""
        ...


class DjangoRequest(Protocol):
    """A Django ``HttpRequest``; under ASGI it has a ``scope``, under WSGI an ``environ``."""

    META: dict[str, Any]
    COOKIES: dict[str, str]


class AiohttpRequest(Protocol):
    """An ``aiohttp.web.Request``, which is a mapping of what handlers keep in it."""

    @property
    def match_info(self) -> Mapping[str, str]:
        """Return what the router found."""
        ...

    def get(self, key: str, /) -> Any:  # noqa: ANN401 - aiohttp's own word
        """Return what was kept."""
        ...


Billable = HasScope | HasEnviron | DjangoRequest | AiohttpRequest | Scope | Environ
"""A request whose response can be billed."""


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
    billing: Billing | None = _kept_with(request).get(BILLING_KEY)
    if billing is None:
        raise ConfigurationError(
            "bill_to needs the middleware around the application: "
            "app.add_middleware(StreamBytesMiddleware, ingestion=ingestion)"
        )
    checked_group("", customer_id, metadata, measured=True)
    billing.bill_to(Payer(customer_id, dict(metadata or {})))


def _kept_with(request: object) -> Mapping[str, Any]:
    # Flask's proxy and Django REST framework's request hand attributes on, but are no instances.
    for name in ("scope", "environ"):
        found = getattr(request, name, None)
        if isinstance(found, MutableMapping):
            return found
    # An aiohttp request is a mutable mapping itself; a Starlette request is one of its scope.
    if isinstance(request, MutableMapping):
        return request
    rule = "be a request of a known framework, an ASGI scope or a WSGI environ"
    raise InvalidInputError("request", request, rule)


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
