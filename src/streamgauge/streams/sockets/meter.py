"""The door: measures sockets, writers and transports for their customers."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from socket import SO_ACCEPTCONN, SOCK_STREAM, SOL_SOCKET
from socket import socket as Socket  # noqa: N812 - arguments have the other name
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from streamgauge.core.clock import Clock
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.payers import Payer
from streamgauge.sdk.groups import checked_group
from streamgauge.sdk.ingestion import Ingestion
from streamgauge.streams.kernel.tcp_info import Readable
from streamgauge.streams.layers import Measured
from streamgauge.streams.metering import Metering
from streamgauge.streams.sockets.asyncio_streams import MeasuredReader, MeasuredWriter
from streamgauge.streams.sockets.plain import MeasuredSocket
from streamgauge.streams.sockets.poll import Poll
from streamgauge.streams.sockets.stream import FollowedStream, SocketStream

S = TypeVar("S", bound=SocketStream)
_MINUTE_S: Final = 60


class SocketMeter:
    """Measures connections that an application makes or accepts itself.

    One direction of a connection is billed by one meter; for both, make two. A connection is
    measured from its first byte, what came before it was handed over included.

    Args:
        ingestion: Where to.
        layer: Which bytes are billed: ``payload``, ``http`` (the same here), ``tls``, ``wire`` or
            ``wire_once``.
        direction: ``egress``, what is sent, or ``ingress``, what is received.
        layers_told: Layers whose bytes stand in the metadata of events, as ``sg_LAYER_bytes``.
        on_measured: Called with a ``Measured`` of every connection when its figures are final;
            from any thread.
        poll_interval_s: How often the kernel is asked about a connection that lives: what a killed
            process loses at most of layers below the payload. A divisor of 60.
        clock: Says when connections begin, and when to ask.

    Raises:
        InvalidInputError: A value breaks a rule.
    """

    _streams: dict[SocketStream, None]
    _poll: Poll

    def __init__(
        self,
        ingestion: Ingestion,
        *,
        layer: str = "payload",
        direction: str = "egress",
        layers_told: Sequence[str] = (),
        on_measured: Callable[[Measured], None] | None = None,
        poll_interval_s: int = 10,
        clock: Clock | None = None,
    ) -> None:
        if type(poll_interval_s) is not int or poll_interval_s < 1 or _MINUTE_S % poll_interval_s:
            rule = "be whole seconds that divide 60, so that windows end with a look"
            raise InvalidInputError("poll_interval_s", poll_interval_s, rule)
        self._metering = Metering(
            ingestion,
            layer=layer,
            direction=direction,
            layers_told=layers_told,
            on_measured=on_measured,
            clock=clock,
        )
        self._sends = self._metering.direction == "egress"
        self._poll_interval_s = poll_interval_s
        self._renew()
        _renew_after_fork(self)
        atexit.register(self.close)

    @property
    def failures(self) -> int:
        """Return how often ``on_measured`` failed."""
        return self._metering.attribution.failures

    @property
    def count(self) -> int:
        """Return how many connections are measured now."""
        return len(self._streams)

    def socket(
        self, socket: Socket, *, customer_id: str, metadata: Mapping[str, object] | None = None
    ) -> MeasuredSocket:
        """Return a connected socket as one that counts.

        Args:
            socket: Of TCP, plain or of TLS, or a Unix socket.
            customer_id: Who pays.
            metadata: What the bytes are.

        Raises:
            InvalidInputError: A value breaks a rule.
        """
        if socket.type != SOCK_STREAM or socket.getsockopt(SOL_SOCKET, SO_ACCEPTCONN):
            raise InvalidInputError("socket", socket, "be a connected socket of streams")
        is_tls = hasattr(socket, "getpeercert")
        stream = self._stream(SocketStream, socket, is_tls, customer_id, metadata)
        return MeasuredSocket(socket, stream, sends=self._sends)

    def writer(
        self,
        writer: asyncio.StreamWriter | asyncio.WriteTransport,
        *,
        customer_id: str,
        metadata: Mapping[str, object] | None = None,
    ) -> MeasuredWriter:
        """Return a writer or transport of asyncio as one that counts.

        Raises:
            InvalidInputError: A value breaks a rule.
        """
        stream = self._stream(SocketStream, *_link(writer), customer_id, metadata)
        return MeasuredWriter(writer, stream, sends=self._sends)

    def streams(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        customer_id: str,
        metadata: Mapping[str, object] | None = None,
    ) -> tuple[MeasuredReader, MeasuredWriter]:
        """Return both streams of a connection as ones that count, in the meter's direction.

        Raises:
            InvalidInputError: A value breaks a rule.
        """
        stream = self._stream(SocketStream, *_link(writer), customer_id, metadata)
        return (
            MeasuredReader(reader, stream, counts=not self._sends),
            MeasuredWriter(writer, stream, sends=self._sends),
        )

    def follow(
        self,
        connection: Any,  # noqa: ANN401 - libraries have sockets of their own
        *,
        customer_id: str,
        metadata: Mapping[str, object] | None = None,
    ) -> FollowedStream:
        """Measure a connection that a library uses, by the kernel's word alone.

        The bytes inside of TLS are estimated; without TLS all that is sent is payload.

        Args:
            connection: A TCP socket, or a transport or writer of asyncio.
            customer_id: Who pays.
            metadata: What the bytes are.

        Returns:
            What follows; ``close`` lets the connection go on alone.

        Raises:
            InvalidInputError: A value breaks a rule, or the kernel does not tell of this
                connection.
        """
        stream = self._stream(FollowedStream, *_link(connection), customer_id, metadata)
        if not stream.has_kernel:
            stream.give_up()
            rule = "be a TCP connection that this system's kernel counts"
            raise InvalidInputError("connection", connection, rule)
        return stream

    def poll(self) -> None:
        """Ask the kernel about every connection now; a thread of its own does, at intervals."""
        for stream in list(self._streams):
            stream.poll()
        with self._lock:
            self._streams = {one: None for one in self._streams if one.concluded is None}

    def close(self) -> None:
        """End with what is known now, before the ingestion is closed; twice is once."""
        atexit.unregister(self.close)
        self._poll.close()
        self.poll()
        for stream in list(self._streams):
            stream.give_up()
        self._streams = {}
        self._metering.connections.close()

    def _stream(
        self,
        kind: type[S],
        socket: Readable | None,
        is_tls: bool,
        customer_id: str,
        metadata: Mapping[str, object] | None,
    ) -> S:
        told = self._metering.layers_told
        checked_group("", customer_id, metadata, measured=True, layers=told)
        stream = kind(self._metering)
        stream.attach(socket, is_tls=is_tls)
        stream.bill(Payer(customer_id, dict(metadata or {})))
        if stream.has_kernel:
            with self._lock:
                self._streams[stream] = None
            self._poll.start()
        return stream

    def _renew(self) -> None:
        """Begin with nothing; in a process that was forked, the parent has the connections."""
        self._lock = threading.Lock()
        self._streams = {}
        self._poll = Poll(self.poll, self._poll_interval_s, self._metering.clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _link(connection: Any) -> tuple[Readable | None, bool]:  # noqa: ANN401
    """Return the socket behind a connection, and whether it is of TLS."""
    extra = getattr(connection, "get_extra_info", None)
    if extra is not None:
        return extra("socket"), extra("ssl_object") is not None
    # Libraries that put a protocol around a socket keep it so; paho's WebSockets do.
    socket = connection if hasattr(connection, "getsockopt") else connection._socket  # noqa: SLF001
    return socket, hasattr(socket, "getpeercert")


def _renew_after_fork(meter: SocketMeter) -> None:
    reference = weakref.ref(meter)

    def renew() -> None:
        if (alive := reference()) is not None:
            alive._renew()  # noqa: SLF001 - its own module's other half.

    os.register_at_fork(after_in_child=renew)
