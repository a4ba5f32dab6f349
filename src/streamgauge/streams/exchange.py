"""One response, WebSocket or other stream: who pays, what was handed over, what arrived.

Chunks are counted when they are handed over, into a session that is held back. What the kernel
says about the connection settles it: bytes that arrived are billed, bytes that never did are taken
back. Without a word of the kernel, what was handed over is billed, and readings say ``computed``.
Files that a server sends itself (sendfile) pass nobody who could count: of these the kernel's word
is all there is, so they are only promised, and billed as they arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from streamgauge.core.payers import Payer
from streamgauge.sdk.held import HeldSession
from streamgauge.sdk.session import has_global_lock
from streamgauge.streams.kernel.connections import Connection
from streamgauge.streams.kernel.tcp_info import Readable, TcpInfo, Traffic
from streamgauge.streams.layers import Measured
from streamgauge.streams.metering import Metering
from streamgauge.streams.readings import (
    Handed,
    Readings,
    read_computed,
    read_received,
    read_sent,
)
from streamgauge.streams.view import RequestView

_NO_TRAFFIC = Traffic(0, 0, 0, 0, 0)


class Uncounted:
    """Stands for a session of which ``add`` must be called, not its cell used."""

    __slots__ = ()
    cell: memoryview[int] | None = None


_UNCOUNTED: Final = Uncounted()
_CELLS_ARE_WHOLE: Final = has_global_lock()


class Exchange:
    """One stream of bytes between an application and a client.

    Attributes:
        add: Counts a chunk; None: who pays must be found out first.
        counter: Has the ``cell`` that ``add`` adds to, for hot paths (see ``StreamSession``).
        handed: What was handed over, but for the payload.
        ended: Whether the application has nothing more to say.
    """

    __slots__ = (
        "_connection",
        "_held_bytes",
        "_info",
        "_metering",
        "_name",
        "_offset",
        "_payer",
        "_promised_bytes",
        "_spans",
        "_started_at_ns",
        "_told",
        "_topped_up",
        "_traffic",
        "add",
        "concluded",
        "counter",
        "ended",
        "handed",
    )

    def __init__(self, metering: Metering) -> None:
        self._metering = metering
        self._started_at_ns = metering.clock.time_ns()
        self._connection: Connection | None = None
        self._name: int | None = None
        self._offset = 0
        self._traffic = _NO_TRAFFIC
        self._info: TcpInfo | None = None
        self._payer: Payer | None = None
        self._held_bytes = 0
        # Payload that the server sends itself, as far as it did not arrive.
        self._promised_bytes = 0
        # Sessions with the payload that was handed over before them; most exchanges have one.
        self._spans: list[tuple[HeldSession, int]] = []
        # What sessions were given beyond the payload, since a lower layer is billed.
        self._topped_up = 0
        self._told: dict[str, int] | None = None
        self.add: Callable[[int], None] | None = None
        self.counter: HeldSession | Uncounted = _UNCOUNTED
        self.handed = Handed()
        self.ended = False
        self.concluded: Readings | None = None

    # Who pays.

    def request(self) -> RequestView:
        """Return the request, for who must find out who pays."""
        raise NotImplementedError

    def bill_to(self, payer: Payer) -> None:
        """Bill what is not billed yet, and what follows, to ``payer``."""
        if not self._spans or payer != self._payer:
            self._payer = payer
            self.add = None
            self.counter = _UNCOUNTED

    def hold(self, size: int) -> None:
        """Count a chunk that nobody pays for, as yet."""
        self._held_bytes += size
        self._metering.attribution.unattributed_bytes += size

    def promise(self, size: int) -> None:
        """Note payload that the server sends itself; only the kernel sees it."""
        self._promised_bytes += size

    @property
    def is_blind(self) -> bool:
        """Return whether payload is under way that only the kernel sees."""
        return self._promised_bytes > 0 and self.concluded is None

    @property
    def has_bytes(self) -> bool:
        """Return whether there is something that somebody should pay for."""
        return self._held_bytes > 0 or self._promised_bytes > 0

    def bill(self, payer: Payer) -> None:
        """Open a session of ``payer`` with what is held."""
        session = self._metering.attribution.open_session(self.request(), payer)
        if session is None:
            self.add = self.hold
            return
        session.evidence = self
        self._payer = payer
        # Whoever concludes meanwhile must not find bytes between their two places.
        with self._metering.connections.locked():
            before = self.payload_counted() - self._held_bytes
            self._metering.attribution.unattributed_bytes -= self._held_bytes
            session.add(self._held_bytes)
            self._held_bytes = 0
            self._spans.append((session, before))
            if self.concluded is not None:
                self._settle(self.concluded, last=True)
        self.add = session.add
        self.counter = session if _CELLS_ARE_WHOLE else _UNCOUNTED

    # What was handed over.

    def payload_counted(self) -> int:
        """Return the bytes of payload so far, without what is only promised."""
        counted = sum(session.total for session, _ in self._spans)
        return counted + self._held_bytes - self._topped_up

    def payload_handed(self) -> int:
        """Return the bytes of payload so far."""
        return self.payload_counted() + self._promised_bytes

    def attach(self, socket: Readable | None, *, is_tls: bool) -> bool:
        """Begin on the connection behind ``socket``; return whether the kernel can be asked."""
        self.handed.is_tls = is_tls
        return socket is not None and self._metering.connections.begin(socket, self)

    def end(self) -> None:
        """Note that the application has nothing more to say."""
        if self.ended:
            return
        self.ended = True
        if self.has_bytes and self._payer is not None and self.add is None:
            self.bill(self._payer)
        if self._connection is not None:
            self._metering.connections.end(self._connection, self)
        elif self.concluded is None and (tell := self.conclude(certain=False)) is not None:
            tell()

    # What the kernel says; it asks under a lock of its own.

    def began(self, connection: Connection, info: TcpInfo) -> None:
        """Note where in the connection's stream it starts."""
        self._connection = connection
        self._name = connection.name
        # What was sent before and is still on its way belongs to what came before.
        self._offset = info.sent - info.retrans

    def overlaps(self, info: TcpInfo) -> bool:
        """Return whether bytes of it are still on their way."""
        arrived = info.arrived - self._offset
        return arrived < self.handed.stream_bytes(self.payload_handed())

    def observe(self, traffic: Traffic, info: TcpInfo) -> None:
        """Take what the kernel says now."""
        self._traffic = traffic
        self._info = info
        self._settle(self._readings(final=False), last=False)

    def conclude(self, *, certain: bool, sent: bool = False) -> Callable[[], None] | None:
        """End with the last observation; ``sent``: all of it is known to have arrived."""
        if self.concluded is not None:
            return None
        self.concluded = readings = self._readings(final=True, certain=certain, sent=sent)
        self._connection = None
        if not self._spans and self._promised_bytes:
            self._promised_bytes = 0
            self.hold(max(readings.payload.bytes - self.payload_counted(), 0))
        self._settle(readings, last=True)
        return None if self._metering.on_measured is None else self._tell

    # What the SDK asks before it makes events.

    @property
    def awaited(self) -> bool:
        """Return whether the application is done and bytes are still on their way."""
        on_the_way = any(session.unsettled for session, _ in self._spans)
        return self.ended and self.concluded is None and on_the_way

    def refresh(self) -> None:
        """Settle what is known to have arrived by now."""
        connection = self._connection
        if connection is not None:
            self._metering.connections.refresh(connection, self)
        elif self.concluded is None:
            self._settle(self._readings(final=False), last=False)

    def give_up(self) -> None:
        """Conclude with what is known, since the process ends."""
        connection = self._connection
        if connection is not None:
            self._metering.connections.conclude(connection, self)
        elif (tell := self.conclude(certain=False)) is not None:
            tell()

    def _readings(self, *, final: bool, certain: bool = True, sent: bool = False) -> Readings:
        payload = self.payload_handed()
        info = self._info
        if info is None:
            return read_computed(self.handed, payload, final=final)
        if self._metering.direction == "ingress":
            return read_received(self.handed, payload, self._traffic, final=final, certain=certain)
        arrived = max(info.arrived - self._offset, 0)
        accepted = info.sent - info.retrans + info.notsent - self._offset
        payload_arrived = payload
        is_complete = sent or self.handed.is_all(payload, arrived, accepted)
        if not is_complete:
            payload_arrived = self.handed.payload_of(payload, arrived, accepted)
        return read_sent(
            self.handed,
            payload_arrived,
            self._traffic,
            arrived=arrived,
            is_complete=is_complete,
            final=final,
            certain=certain,
        )

    def _settle(self, readings: Readings, *, last: bool) -> None:
        if not self._spans:
            return
        payload = readings.payload.bytes
        *earlier, (session, before) = self._spans
        for one, start in earlier:
            _settle(one, min(max(payload - start, 0), one.total), last=last)
        # What a lower layer has beyond the payload belongs to who pays now.
        through = max(readings.of(self._metering.layer).bytes, payload)
        share = max(payload - before, 0) + through - payload
        arrived = min(max(payload - self.payload_counted(), 0), self._promised_bytes)
        missing = max(share - session.total, 0)
        self._promised_bytes -= arrived
        self._topped_up += missing - arrived
        session.add(missing)
        self._tell_layers(session, readings)
        _settle(session, share, last=last)

    def _tell_layers(self, session: HeldSession, readings: Readings) -> None:
        told = self._told = self._told or {}
        for layer, side in session.sides.items():
            size, before = readings.of(layer).bytes, told.get(layer, 0)
            if size > before:
                side.add(size - before)
                told[layer] = size

    def _tell(self) -> None:
        readings, spans = self.concluded, self._spans
        assert readings is not None, "called after the conclusion"
        session = spans[-1][0] if spans else None
        self._metering.tell(
            Measured(
                customer_id=session.customer_id if session is not None else None,
                session_id=session.id if session is not None else None,
                connection=self._name,
                direction=self._metering.direction,
                started_at_ns=self._started_at_ns,
                ended_at_ns=self._metering.clock.time_ns(),
                is_complete=readings.is_complete,
                payload=readings.payload,
                http=readings.http,
                tls=readings.tls,
                wire=readings.wire,
                wire_once=readings.wire_once,
            )
        )


def _settle(session: HeldSession, share: int, *, last: bool) -> None:
    if last:
        session.finish(share)
    else:
        session.settle(share)
