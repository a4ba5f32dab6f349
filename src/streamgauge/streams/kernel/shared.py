"""A connection of HTTP/2, on which several exchanges are served at a time.

The server's frames are noted in the order in which it writes them, so whose bytes arrived follows
from how many arrived. Handshakes and frames of the connection itself belong to the exchange that
began last.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Final, Protocol

from streamgauge.streams.kernel.connection import Connection
from streamgauge.streams.kernel.connections import Connections
from streamgauge.streams.kernel.frames import (
    NO_TRAFFIC,
    NOTHING_CARRIED,
    Carried,
    Frame,
    frames_of,
)
from streamgauge.streams.kernel.tcp_info import Readable, TcpInfo, Traffic

# Unread notes are a few dozen bytes each, and so much stays in a socket's buffers anyway.
_NOTES_MAX: Final = 1_024


class SharingExchange(Protocol):
    """An exchange of a connection that others use at the same time."""

    ended: bool

    def joined(self, shared: Shared, connection: Connection) -> None:
        """Note that it is served on ``connection``."""
        ...

    def observe_carried(self, carried: Carried) -> None:
        """Take what arrived of it by now."""
        ...

    def conclude(
        self, *, certain: bool, sent: bool = False, leaving: bool = False
    ) -> Callable[[], None] | None:
        """End (see ``connection.Exchange``)."""
        ...

    def disown(self) -> None:
        """Leave what was counted to the parent, in a process that was forked."""
        ...


class _Share:
    __slots__ = ("carried", "exchange", "is_closed")

    def __init__(self, exchange: SharingExchange, is_closed: Callable[[], bool]) -> None:
        self.exchange = exchange
        self.is_closed = is_closed
        self.carried = NOTHING_CARRIED


class Shared:
    """The one exchange of a connection in the eyes of ``Connections``, and many within.

    Args:
        record_overhead_bytes: Says what encryption adds to bytes that are written at once.
    """

    ended = True
    """Nothing is said on it by itself, so ``Connections`` looks whether it is gone."""

    def __init__(self, record_overhead_bytes: Callable[[int], int]) -> None:
        self._overhead = record_overhead_bytes
        self._connections: Connections | None = None
        self._connection: Connection | None = None
        self._info: TcpInfo | None = None
        self._traffic = NO_TRAFFIC
        self._frames: collections.deque[Frame] = collections.deque()
        self._pending: dict[int, int] = {}
        self._unread = 0
        self._under_way = 0
        self._is_watched = False
        self._shares: dict[int, _Share] = {}
        self._latest: _Share | None = None

    def join(
        self,
        connections: Connections,
        socket: Readable,
        stream: int,
        exchange: SharingExchange,
        *,
        is_closed: Callable[[], bool],
        buffered_bytes: int,
    ) -> bool:
        """Serve ``exchange``, too.

        Args:
            connections: Where the connection is known; those of the first exchange.
            socket: The connection's socket.
            stream: The exchange's number on the connection.
            exchange: What is served.
            is_closed: Says whether the server has no more to do with it.
            buffered_bytes: What the server has written and the kernel has not taken.

        Returns:
            Whether the kernel can be asked about it.
        """
        if self._connections is None:
            self._connections = connections
            if connections.begin(socket, self) and self._info is not None:
                self._expect(self._info, buffered_bytes)
        elif self._connections is connections and self._connection is not None:
            connections.refresh(self._connection, self)
        with connections.locked():
            connection = self._connection
            if self._connections is not connections or connection is None:
                return False
            self._latest = self._shares[stream] = _Share(exchange, is_closed)
            exchange.joined(self, connection)
        return True

    def note(self, frames: bytes) -> None:
        """Note whole frames that the server writes next, in one piece."""
        connections, connection = self._connections, self._connection
        if connections is None or connection is None:
            return
        with connections.locked():
            for frame in frames_of(frames, self._overhead(len(frames))):
                self._frames.append(frame)
                self._pending[frame.stream] = self._pending.get(frame.stream, 0) + frame.size
            self._unread += 1
        if self._unread >= _NOTES_MAX:
            self._unread = 0
            connections.refresh(connection, self)

    # What exchanges ask for, in the words of ``Connections``.

    def refresh(self, connection: Connection, _exchange: SharingExchange) -> bool:
        """Give every exchange what the kernel says now (see ``Connections.refresh``)."""
        return self._connections is not None and self._connections.refresh(connection, self)

    def end(self, connection: Connection, _exchange: SharingExchange) -> None:
        """Note that the application is done with an exchange."""
        if self._connections is not None and not self._is_watched:
            self._is_watched = True
            self._connections.end(connection, self)

    def give_up(self, connection: Connection, _exchange: SharingExchange) -> None:
        """Conclude all exchanges with what is known now, since this process ends."""
        if self._connections is not None:
            self._connections.conclude(connection, self)

    # What ``Connections`` asks for, under its lock (see ``connection.Exchange``).

    @property
    def is_blind(self) -> bool:
        """Return whether an exchange is over and its bytes may be on the way."""
        return any(
            share.exchange.ended and share is not self._latest
            for share in tuple(self._shares.values())
        )

    def began(self, connection: Connection, info: TcpInfo) -> None:
        """Note where the connection stands."""
        self._connection = connection
        self._info = info

    def missing(self, _info: TcpInfo) -> int:
        """Return nothing: another exchange on the connection means that this one is over."""
        return 0

    def observe(self, traffic: Traffic, info: TcpInfo) -> None:
        """Give each exchange what arrived of it, and conclude those that are whole."""
        if traffic.arrived < self._traffic.arrived:
            # Read before what another thread has told already.
            return
        self._info = info
        # What was sent is on the wire before it arrives, and only then it is known whose it is.
        self._under_way = info.sent - info.retrans - info.arrived
        self._give(traffic._replace(wire_out=traffic.wire_out - self._under_way))
        for stream, share in list(self._shares.items()):
            if share is self._latest or not share.exchange.ended or stream in self._pending:
                continue
            if share.carried.has_end or share.is_closed():
                del self._shares[stream]
                tell = share.exchange.conclude(certain=True)
                if tell is not None and self._connection is not None:
                    self._connection.untold.append(tell)

    def conclude(
        self, *, certain: bool, sent: bool = False, leaving: bool = False
    ) -> Callable[[], None] | None:
        """Conclude every exchange."""
        info, more = self._info, 0
        if leaving and info is not None:
            # The kernel goes on sending what it took.
            more = max(info.sent - info.retrans + info.notsent - info.arrived, 0)
        elif not certain and not any(not one.exchange.ended for one in self._shares.values()):
            # Gone without a word, and nobody was served any more.
            more = sum(frame.size - frame.arrived for frame in self._frames)
        if more or self._under_way:
            before = self._traffic
            arrived, wire_out = before.arrived + more, before.wire_out + self._under_way
            self._give(before._replace(arrived=arrived, wire_out=wire_out))
        tells = self._connection.untold if self._connection is not None else []
        for share in self._shares.values():
            tell = share.exchange.conclude(certain=certain, sent=sent, leaving=leaving)
            if tell is not None:
                tells.append(tell)
        self._forget()

        def tell_all() -> None:
            while tells:
                tells.pop(0)()

        return tell_all

    def disown(self) -> None:
        """Leave what was counted to the parent, in a process that was forked."""
        shares = list(self._shares.values())
        self._forget()
        for share in shares:
            share.exchange.disown()

    def _expect(self, info: TcpInfo, buffered_bytes: int) -> None:
        """Note what was written before the first exchange: the handshake, for one."""
        size = info.sent - info.retrans + info.notsent + buffered_bytes
        self._frames.append(Frame(0, size, 0, 0))

    def _forget(self) -> None:
        self._connection = self._latest = None
        self._shares = {}
        self._frames.clear()
        self._pending = {}

    def _give(self, traffic: Traffic) -> None:
        """Divide what was carried since the last time, as its stream's bytes are divided."""
        delta = [after - before for after, before in zip(traffic[:-1], self._traffic, strict=False)]
        self._traffic = traffic
        parts = self._arrive(delta[0]) or self._waiting()
        total, done, given = sum(parts.values()), 0, [0] * len(delta)
        for share, size in parts.items():
            done += size
            upto = [one * done // total if total else one for one in delta]
            if share is not None:
                was = share.carried
                rows = zip(was.traffic[:-1], upto, given, strict=True)
                sums = [old + new - before for old, new, before in rows]
                share.carried = was._replace(traffic=Traffic._make([*sums, traffic.is_split]))
                share.exchange.observe_carried(share.carried)
            given = upto

    def _arrive(self, size: int) -> dict[_Share | None, int]:
        """Take ``size`` bytes from the frames that are on their way, and say whose they are."""
        parts: dict[_Share | None, int] = {}
        while size > 0:
            owner, part = self._latest, size
            if self._frames:
                frame = self._frames[0]
                part = min(size, frame.size - frame.arrived)
                owner = self._shares.get(frame.stream) if frame.stream else self._latest
                self._advance(frame, owner, part)
            parts[owner] = parts.get(owner, 0) + part
            size -= part
        return parts

    def _waiting(self) -> dict[_Share | None, int]:
        """Return how many bytes are on their way, and whose they are."""
        parts = {self._latest: 0}
        for stream, size in self._pending.items():
            owner = self._shares.get(stream) if stream else self._latest
            parts[owner] = parts.get(owner, 0) + size
        return parts

    def _advance(self, frame: Frame, owner: _Share | None, part: int) -> None:
        http, payload = frame.inner(frame.http), frame.inner(frame.payload)
        frame.arrived += part
        if owner is not None and frame.stream:
            was = owner.carried
            owner.carried = was._replace(
                http=was.http + frame.inner(frame.http) - http,
                payload=was.payload + frame.inner(frame.payload) - payload,
                has_end=frame.is_last and frame.arrived >= frame.size,
            )
        if frame.arrived >= frame.size:
            self._frames.popleft()
        if frame.stream in self._pending:
            self._pending[frame.stream] -= part
            if self._pending[frame.stream] <= 0:
                del self._pending[frame.stream]
