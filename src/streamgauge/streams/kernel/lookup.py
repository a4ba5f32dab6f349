"""Connections that no object in Python stands for: found by their addresses, read by their names.

Servers that are not written in Python keep their sockets to themselves, but say who talks to them.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

from streamgauge.streams.kernel.netlink import Identity, find, raw_info
from streamgauge.streams.kernel.tcp_info import SO_COOKIE

_WILDCARDS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared, not bound
_MAPPED: Final = b"\0" * 10 + b"\xff\xff"


class FoundSocket:
    """What the kernel says of a connection, in the form of a socket."""

    __slots__ = ("_identity", "family")

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self.family = identity.family

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Return its name or its ``TCP_INFO``.

        Raises:
            OSError: It is gone.
        """
        if (level, option) == (socket.SOL_SOCKET, SO_COOKIE):
            return self._identity.cookie.to_bytes(size, "little")
        info = raw_info(self._identity)
        if info is None:
            raise OSError(errno.ENOTCONN, "the kernel has no such connection")
        return info[:size]

    def getsockname(self) -> tuple[str, int]:
        """Return the address of this end."""
        return _text(self._identity.local_address), self._identity.local_port

    def getpeername(self) -> tuple[str, int]:
        """Return the address of the other end."""
        return _text(self._identity.peer_address), self._identity.peer_port


def find_socket(local: tuple[str, int], peer: tuple[str, int]) -> FoundSocket | None:
    """Return the connection between two addresses.

    Args:
        local: Address and port of this end; an address may be that of all interfaces.
        peer: Address and port of the other end.

    Returns:
        None: there is none, several, or they cannot be asked for.
    """
    try:
        peer_address = _packed(peer[0])
        local_address = None if local[0] in _WILDCARDS else _packed(local[0])
    except (OSError, ValueError):
        return None
    choices = [(socket.AF_INET6, peer_address, local_address)]
    if len(peer_address) == len(_packed("0.0.0.0")):  # noqa: S104 - its length
        mapped = None if local_address is None else _MAPPED + local_address
        choices = [
            (socket.AF_INET, peer_address, local_address),
            # A socket that takes both families writes IPv4 this way.
            (socket.AF_INET6, _MAPPED + peer_address, mapped),
        ]
    for family, there, here in choices:
        found = find(family, local[1], there, peer[1], here)
        if len(found) == 1:
            return FoundSocket(found[0])
    return None


def _packed(address: str) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address.partition("%")[0])


def _text(address: bytes) -> str:
    family = socket.AF_INET6 if len(address) == 16 else socket.AF_INET  # noqa: PLR2004
    return socket.inet_ntop(family, address)
