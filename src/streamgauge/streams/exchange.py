"""One response, WebSocket or other stream: who pays, what was handed over, what arrived.

Chunks are counted when they are handed over, into a session that is held back. What the kernel
says about the connection settles it: bytes that arrived are billed, bytes that never did are taken
back. Without a word of the kernel, what was handed over is billed, and readings say ``computed``.
Files that a server sends itself (sendfile) pass nobody who could count: of these the kernel's word
is all there is, so they are only promised, and billed as they arrive.
"""

from __future__ import annotations

from collections.abc import Callable

from streamgauge.core.metadata import parse
from streamgauge.streams.kernel.connection import Connection
from streamgauge.streams.kernel.frames import NO_TRAFFIC, NOTHING_CARRIED, Carried
from streamgauge.streams.kernel.shared import Shared
from streamgauge.streams.kernel.tcp_info import Readable, TcpInfo, Traffic
from streamgauge.streams.layers import Measured
from streamgauge.streams.link import Link
from streamgauge.streams.metering import Metering
from streamgauge.streams.model import record_overhead_bytes
from streamgauge.streams.paid import PaidStream
from streamgauge.streams.readings import (
    Handed,
    Readings,
    at_least,
    read_computed,
    read_received,
    read_sent,
    read_shared,
)


class Exchange(PaidStream):
    """One stream of bytes between an application and a client.

    Attributes:
        handed: What was handed over, but for the payload.
        is_cut: Whether the client left, or the application stopped, before all was handed over.
        ended: Whether the application has nothing more to say.
        status: What was answered, once it is.
    """

    __slots__ = (
        "_carried",
        "_connection",
        "_done_at_ns",
        "_info",
        "_name",
        "_offset",
        "_shared",
        "_started_at_ns",
        "_traffic",
        "ended",
        "handed",
        "is_cut",
        "status",
    )

    def __init__(self, metering: Metering) -> None:
        super().__init__(metering)
        self._started_at_ns = metering.clock.time_ns()
        self._done_at_ns: int | None = None
        self._connection: Connection | None = None
        self._name: int | None = None
        self._offset = 0
        self._traffic = NO_TRAFFIC
        self._shared: Shared | None = None
        self._carried: Carried | None = None
        self._info: TcpInfo | None = None
        self.handed = Handed()
        self.ended = False
        self.is_cut = False
        self.status: int | None = None

    def attach(self, socket: Readable | None, *, is_tls: bool, early_bytes: int = 0) -> bool:
        """Begin on the connection behind ``socket``; return whether the kernel can be asked.

        Args:
            socket: The socket, or what an event loop shows of it.
            is_tls: Whether the server encrypts.
            early_bytes: What the server has sent of this exchange already, before encryption.
        """
        self.handed.is_tls = is_tls
        if early_bytes and is_tls:
            early_bytes += record_overhead_bytes(early_bytes)
        connections = self._metering.connections
        connections.end_dropped()
        return socket is not None and connections.begin(
            socket, self, unless_sent=not is_tls, early_bytes=early_bytes
        )

    def attach_to(self, link: Link) -> bool:
        """Begin on the connection of a server's end; return whether the kernel can be asked."""
        if link.stream is not None and self._metering.direction == "egress":
            self.handed.is_tls = link.is_tls
            return link.stream.join(self._metering.connections, self)
        socket = link.socket
        if socket is None and link.addresses is not None:
            socket = self._metering.connections.found(*link.addresses)
        return self.attach(socket, is_tls=link.is_tls, early_bytes=link.early_bytes)

    def end(self) -> None:
        """Note that the application has nothing more to say."""
        if self.ended:
            return
        self.ended = True
        self._done_at_ns = self._metering.clock.time_ns()
        if self.is_owed and self._payer is not None and self.add is None:
            self.bill(self._payer)
        if self._connection is not None:
            (self._shared or self._metering.connections).end(self._connection, self)
        else:
            self._conclude_alone()

    def drop(self) -> None:
        """Have it end soon, in another thread, without waiting for anything."""
        if not self.ended:
            self._metering.connections.drop(self)

    # What the kernel says; it asks under a lock of its own.

    def began(self, connection: Connection, info: TcpInfo) -> None:
        """Note where in the connection's stream it starts."""
        self._connection = connection
        self._name = connection.name
        # What was sent before and is still on its way belongs to what came before.
        self._offset = info.sent - info.retrans

    def joined(self, shared: Shared, connection: Connection) -> None:
        """Note that it is served on a connection that others use at the same time."""
        self._shared = shared
        self._connection = connection
        self._name = connection.name
        self._carried = NOTHING_CARRIED

    def observe_carried(self, carried: Carried) -> None:
        """Take what arrived of it on such a connection by now."""
        self._carried = carried
        self._settle(self._readings(final=False), last=False)

    def missing(self, info: TcpInfo) -> int:
        """Return how many bytes of it are still on their way."""
        if self._metering.direction == "ingress":
            return 0
        return self._offset + self.handed.stream_bytes(self.payload_handed()) - info.arrived

    def observe(self, traffic: Traffic, info: TcpInfo) -> None:
        """Take what the kernel says now."""
        self._traffic = traffic
        self._info = info
        if self.is_blind:
            accepted = max(info.sent - info.retrans + info.notsent - self._offset, 0)
            self.take(self.handed.payload_of(self.payload_handed(), accepted, accepted))
        self._settle(self._readings(final=False), last=False)

    def conclude(
        self, *, certain: bool, sent: bool = False, leaving: bool = False
    ) -> Callable[[], None] | None:
        """End with the last observation (see ``kernel.connections.Exchange``)."""
        if self.concluded is not None:
            return None
        # A connection that is gone without a word: nobody left, so what was handed over arrived.
        # Of what only the kernel sees, its last word is all there is.
        unheard = self.ended and not (self.is_cut or certain or sent or leaving or self.is_blind)
        readings = self._readings(
            final=True, certain=certain, sent=sent or unheard, leaving=leaving
        )
        if unheard and self._info is not None and self._metering.direction == "egress":
            readings = at_least(
                readings, read_computed(self.handed, self.payload_handed(), final=True)
            )
        self.concluded = readings
        self._connection = None
        if not self._spans and self._promised_bytes:
            self._promised_bytes = 0
            self.hold(max(readings.payload.bytes - self.payload_counted(), 0))
        self._settle(readings, last=True)
        return None if self._metering.on_measured is None else self._tell

    def disown(self) -> None:
        """Leave what was counted to the parent, in a process that was forked.

        The parent's kernel counters go on with what this process sends on the same connection, so
        of layers below the payload nothing is left to count here.
        """
        self._connection = self._info = None
        self._traffic = NO_TRAFFIC
        self._carried = None
        self.handed.head = self.handed.framing = 0
        self.leave()
        if self._metering.layer != "payload":
            self.concluded = self._readings(final=True)

    # What the SDK asks before it makes events.

    @property
    def awaited(self) -> bool:
        """Return whether the application is done and bytes are still on their way."""
        on_the_way = any(span.session.unsettled for span in self._spans)
        return self.ended and self.concluded is None and on_the_way

    def refresh(self) -> None:
        """Settle what is known to have arrived by now."""
        connection = self._connection
        if connection is not None:
            (self._shared or self._metering.connections).refresh(connection, self)
        else:
            with self._metering.connections.locked():
                if self.concluded is None:
                    self._settle(self._readings(final=False), last=False)

    def give_up(self) -> None:
        """Conclude with what is known, since the process ends."""
        connection = self._connection
        if connection is not None:
            if self._shared is not None:
                self._shared.give_up(connection, self)
            else:
                self._metering.connections.conclude(connection, self)
        else:
            self._conclude_alone()

    def _conclude_alone(self) -> None:
        with self._metering.connections.locked():
            tell = self.conclude(certain=False)
        if tell is not None:
            tell()

    def _readings(
        self, *, final: bool, certain: bool = True, sent: bool = False, leaving: bool = False
    ) -> Readings:
        payload = self.payload_handed()
        if self._carried is not None:
            return read_shared(self.handed, payload, self._carried, is_over=self.ended, final=final)
        info, traffic = self._info, self._traffic
        if info is None:
            return read_computed(self.handed, payload, final=final)
        if self._metering.direction == "ingress":
            return read_received(self.handed, payload, traffic, final=final, certain=certain)
        arrived = max(info.arrived - self._offset, 0)
        accepted = max(info.sent - info.retrans + info.notsent - self._offset, arrived)
        if leaving:
            # The kernel goes on sending what it took, unless the client leaves as well.
            traffic = traffic._replace(arrived=traffic.arrived + accepted - arrived)
            arrived = accepted
        payload_arrived = payload
        is_complete = sent or self.handed.is_all(payload, arrived, accepted)
        if is_complete and (others := self.handed.foreign_bytes(payload, arrived)):
            # Something else was served behind it, and not through us.
            traffic, certain = traffic.without(others), False
        if not is_complete:
            payload_arrived = self.handed.payload_of(payload, arrived, accepted)
        return read_sent(
            self.handed,
            payload_arrived,
            traffic,
            arrived=arrived,
            is_complete=is_complete,
            final=final,
            certain=certain,
        )

    def _tell(self) -> None:
        readings, spans = self.concluded, self._spans
        assert readings is not None, "called after the conclusion"
        session = spans[-1].session if spans else None
        texts = session.group.metadata if session is not None else {}
        now_ns = self._metering.clock.time_ns()
        self._metering.tell(
            Measured(
                customer_id=session.customer_id if session is not None else None,
                metadata={key: parse(text) for key, text in texts.items()},
                request=self.request(),
                status=self.status,
                session_id=session.id if session is not None else None,
                connection=self._name,
                direction=self._metering.direction,
                started_at_ns=self._started_at_ns,
                done_at_ns=self._done_at_ns or now_ns,
                ended_at_ns=now_ns,
                is_complete=readings.is_complete,
                payload=readings.payload,
                http=readings.http,
                tls=readings.tls,
                wire=readings.wire,
                wire_once=readings.wire_once,
            )
        )
