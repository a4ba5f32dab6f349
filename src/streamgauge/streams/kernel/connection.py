"""One TCP connection of this process: its counters, and what is served on it."""

from __future__ import annotations

import socket as sockets
import weakref
from collections.abc import Callable
from typing import Protocol

from streamgauge.streams.kernel.netlink import Identity, alive
from streamgauge.streams.kernel.tcp_info import (
    IPV4_BYTES,
    IPV6_BYTES,
    Readable,
    TcpInfo,
    Traffic,
    between,
    cookie,
    read,
)


class Ending(Protocol):
    """What can be told that it is over."""

    def end(self) -> None:
        """Note that the application has nothing more to say."""
        ...


class Exchange(Protocol):
    """One response, WebSocket or other stream on a connection."""

    ended: bool
    """Whether the application has nothing more to say."""

    @property
    def is_blind(self) -> bool:
        """Return whether bytes of it are under way that only the kernel sees."""
        ...

    def began(self, connection: Connection, info: TcpInfo) -> None:
        """Note where in the connection's stream it starts."""
        ...

    def missing(self, info: TcpInfo) -> int:
        """Return how many bytes of it are still on their way, before those of the next one."""
        ...

    def observe(self, traffic: Traffic, info: TcpInfo) -> None:
        """Take what the kernel says now."""
        ...

    def conclude(
        self, *, certain: bool, sent: bool = False, leaving: bool = False
    ) -> Callable[[], None] | None:
        """End: nothing more will be observed.

        Args:
            certain: Whether the last observation is the last word.
            sent: Whether everything that was handed over is known to have arrived.
            leaving: Whether this process ends, and its kernel goes on sending.

        Returns:
            What to call when no lock is held.
        """
        ...

    def disown(self) -> None:
        """Leave what was counted to the parent, in a process that was forked."""
        ...


class Connection:
    """A TCP connection of this process.

    Attributes:
        name: The kernel's name of it, which is never used again.
        current: What is served on it, or was last.
        untold: What to call when no lock is held, of exchanges that were concluded within it.
    """

    __slots__ = (
        "_ip_bytes",
        "_is_ours",
        "_last",
        "_socket",
        "_start",
        "current",
        "identity",
        "name",
        "untold",
    )

    def __init__(self, name: int, socket: Readable, identity: Identity, start: TcpInfo) -> None:
        self.name = name
        self.identity = identity
        self.current: Exchange | None = None
        self.untold: list[Callable[[], None]] = []
        # A plain socket that nobody else holds must close, as it would without us.
        self._socket = weakref.ref(socket) if isinstance(socket, sockets.socket) else lambda: socket
        self._ip_bytes = _ip_bytes(identity)
        self._is_ours = False
        self._start = self._last = self._without_syn(start)

    def read(self) -> TcpInfo | None:
        """Return its counters, also after this process has closed it; None: it is gone."""
        socket = self._socket()
        info = read(socket) if socket is not None else None
        # An event loop's socket is a number, which may be another connection's by now.
        if info is not None and socket is not None and cookie(socket) == self.name:
            return info
        return alive(self.identity)

    def observe(self, info: TcpInfo) -> None:
        """Give the current exchange what was carried since it began."""
        self._last = self._without_syn(info)
        if self.current is not None:
            traffic = between(self._start, self._last, self._ip_bytes, is_ours=self._is_ours)
            self.current.observe(traffic, self._last)

    def serve(self, exchange: Exchange, info: TcpInfo, *, is_first: bool) -> None:
        """Make ``exchange`` the current one; what is carried from now on is its."""
        self.current = exchange
        self._last = self._without_syn(info)
        if not is_first:
            self._start = self._last
        exchange.began(self, self._last)

    def _without_syn(self, info: TcpInfo) -> TcpInfo:
        self._is_ours = self._is_ours or info.counts_syn
        return info._replace(acked=info.acked - 1) if self._is_ours and info.acked else info


def identity_of(name: int, socket: object) -> Identity | None:
    """Return a connection's name and addresses; None: it has none, or not any more."""
    local = _address(socket, "getsockname")
    peer = _address(socket, "getpeername")
    if local is None or peer is None:
        return None
    family = getattr(socket, "family", None)
    return Identity(name, int(family or 0), local[0], local[1], peer[0], peer[1])


def _address(socket: object, method: str) -> tuple[bytes, int] | None:
    try:
        host, port, *_ = getattr(socket, method)()
        family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
        return sockets.inet_pton(family, host.partition("%")[0]), int(port)
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _ip_bytes(identity: Identity) -> int:
    address = identity.peer_address
    # An IPv4 peer of a socket that takes both is written as ::ffff:a.b.c.d.
    is_ipv4 = len(address) == 4 or address.startswith(b"\0" * 10 + b"\xff\xff")  # noqa: PLR2004
    return IPV4_BYTES if is_ipv4 else IPV6_BYTES
