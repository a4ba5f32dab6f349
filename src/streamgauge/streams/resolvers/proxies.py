"""Whether a connection comes from a proxy that is trusted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from streamgauge.core.errors import ConfigurationError, InvalidInputError, UnauthorizedError
from streamgauge.streams.resolvers.base import texts
from streamgauge.streams.view import UNIX_PEER, RequestView

_BETWEEN_ADDRESSES: Final = re.compile(r'[\s,;="\[\]]+')


class TrustedProxies:
    """Networks from which a header is believed.

    Args:
        networks: Addresses and networks, of IPv4 and IPv6; ``unix`` is any Unix socket.

    Raises:
        InvalidInputError: One is no network.
        ConfigurationError: There is none, or one is the whole internet.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        named = texts("trusted_proxies", networks)
        self._unix = UNIX_PEER in named
        self._networks = [_network(each) for each in named if each != UNIX_PEER]
        if not named:
            raise ConfigurationError("trusted_proxies must have at least one network")

    def check(self, request: RequestView, what: str) -> None:
        """Return if the connection comes from a trusted proxy.

        Raises:
            UnauthorizedError: It does not, or nobody can tell, so ``what`` is not believed.
        """
        peer = request.peer
        if peer == UNIX_PEER and self._unix:
            return
        address = _address(peer)
        if address is None or not any(address in network for network in self._networks):
            raise UnauthorizedError(f"{what} comes from {peer}, which is no trusted proxy")
        if _may_be_forwarded(request, address):
            raise UnauthorizedError(
                f"{what} comes from {peer}, which the server may have read in X-Forwarded-For: "
                "keep it from doing so (uvicorn --no-proxy-headers), or sign the value"
            )


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        rule = f"be addresses or networks such as 10.0.0.0/8, or {UNIX_PEER}: {error}"
        raise InvalidInputError("trusted_proxies", text, rule) from None
    if network.prefixlen == 0:
        raise ConfigurationError(f"trusted_proxies must not trust everybody, as {text} does")
    return network


def _address(text: str | None) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text or "")
    except ValueError:
        return None
    # What a socket for both families says of an IPv4 peer.
    return getattr(address, "ipv4_mapped", None) or address


def _may_be_forwarded(request: RequestView, address: IPv4Address | IPv6Address) -> bool:
    if request.peer_port == 0:
        # No connection has it; uvicorn and others put it beside an address from a header.
        return True
    return address in _forwarded(request)


def _forwarded(request: RequestView) -> Iterator[IPv4Address | IPv6Address | None]:
    for name in ("x-forwarded-for", "forwarded"):
        for value in request.headers.get_all(name):
            for text in _BETWEEN_ADDRESSES.split(value):
                yield _address(text)
                yield _address(text.rpartition(":")[0])
