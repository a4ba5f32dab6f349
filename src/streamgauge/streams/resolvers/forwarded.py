"""Who pays, by a header or query field that a proxy sets or that is signed, never by others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streamgauge.core.errors import ConfigurationError, UnauthorizedError
from streamgauge.streams.resolvers.base import only
from streamgauge.streams.resolvers.proxies import TrustedProxies
from streamgauge.streams.resolvers.signing import Signer
from streamgauge.streams.view import RequestView

Resolver = Callable[[RequestView], str | None]


def from_header(
    name: str, *, trusted_proxies: Sequence[str] | None = None, signer: Signer | None = None
) -> Resolver:
    """Return a resolver that reads a header; without the header it is nobody.

    Args:
        name: The header, such as ``X-Customer``. The proxy must set it on every request, so that
            what a viewer sends under this name is replaced.
        trusted_proxies: Addresses and networks of your proxies, such as ``10.0.0.0/8``, ``::1`` or
            ``unix``; from elsewhere the header is refused. They are compared with the connection's
            other end, so the server must not rewrite that from ``X-Forwarded-For``.
        signer: Wrote the value with ``Signer.sign``; beside ``trusted_proxies``, both must hold.

    Raises:
        ConfigurationError: Neither is given: anybody could name whom they like to pay.
        InvalidInputError: A network is none.
    """

    def read(request: RequestView) -> str | None:
        value = only(request.headers.get_all(name), f"header {name}")
        if value is not None and "," in value:
            # WSGI servers join headers that repeat.
            raise UnauthorizedError(f"header {name} holds a comma, as if it occurred twice")
        return value

    return _believed(f"header {name}", read, trusted_proxies, signer)


def from_query(
    name: str, *, trusted_proxies: Sequence[str] | None = None, signer: Signer | None = None
) -> Resolver:
    """Return a resolver that reads a field of the query string; without it, it is nobody.

    Args:
        name: The field, such as ``viewer`` in ``?viewer=...``.
        trusted_proxies: As for ``from_header``; the proxy must replace what viewers send.
        signer: As for ``from_header``; the way for players, which cannot send headers.

    Raises:
        ConfigurationError: Neither is given: anybody could name whom they like to pay.
        InvalidInputError: A network is none.
    """

    def read(request: RequestView) -> str | None:
        return only(request.query.get_all(name), f"query field {name}")

    return _believed(f"query field {name}", read, trusted_proxies, signer)


def _believed(
    what: str, read: Resolver, trusted_proxies: Sequence[str] | None, signer: Signer | None
) -> Resolver:
    if trusted_proxies is None and signer is None:
        raise ConfigurationError(
            f"{what} can be written by anybody: give trusted_proxies= (who sets it) or signer= "
            "(who signed it)"
        )
    proxies = None if trusted_proxies is None else TrustedProxies(trusted_proxies)

    def resolve(request: RequestView) -> str | None:
        value = read(request)
        if value is None:
            return None
        if proxies is not None:
            proxies.check(request, what)
        return value if signer is None else signer.customer_of(value)

    return resolve
