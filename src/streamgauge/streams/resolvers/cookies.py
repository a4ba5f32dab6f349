"""Who pays, by a cookie that the viewer cannot write."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streamgauge.core.errors import ConfigurationError, InvalidInputError
from streamgauge.streams.resolvers.base import only
from streamgauge.streams.resolvers.signing import Signer
from streamgauge.streams.view import RequestView


def from_cookie(
    name: str,
    *,
    signer: Signer | None = None,
    verify: Callable[[str], object] | None = None,
    key: str = "customer_id",
) -> Callable[[RequestView], str | None]:
    """Return a resolver that reads a signed cookie; without the cookie it is nobody.

    Args:
        name: The cookie.
        signer: Wrote the cookie's value with ``Signer.sign``.
        verify: Instead of ``signer``: the function with which your framework reads its own signed
            cookies. It returns the customer, or a mapping that has it, and raises for a value
            that does not hold.
        key: Where that mapping has the customer.

    Raises:
        ConfigurationError: Neither or both of ``signer`` and ``verify`` are given: a cookie that
            nobody signed is what its viewer likes it to be.
    """
    if (signer is None) == (verify is None):
        raise ConfigurationError("from_cookie needs a signer= or a verify=: viewers write cookies")
    read: Callable[[str], object] | None = verify if signer is None else signer.customer_of
    assert read is not None, "one of them was given"

    def resolve(request: RequestView) -> str | None:
        value = only(request.cookies.get_all(name), f"cookie {name}")
        if value is None:
            return None
        found = read(value)
        if isinstance(found, Mapping):
            found = found.get(key)
        if found is not None and not isinstance(found, str):
            raise InvalidInputError(key, found, "be a text")
        return found

    return resolve
