"""One connection for its life, or for as long as one customer has it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from streamgauge.streams.exchange import Exchange
from streamgauge.streams.kernel.tcp_info import TcpInfo, Traffic
from streamgauge.streams.metering import Metering
from streamgauge.streams.readings import Readings, read_followed


class SocketStream(Exchange):
    """The bytes of a connection in one direction.

    Attributes:
        peer_is_done: Whether the peer was seen to send no more.
    """

    __slots__ = ("_missed", "peer_is_done")

    def __init__(self, metering: Metering) -> None:
        super().__init__(metering)
        self._missed = 0
        self.peer_is_done = False
        # Nothing stands around the payload.
        self.handed.is_modelled = True

    @property
    def has_kernel(self) -> bool:
        """Return whether the kernel is asked about it."""
        return self._connection is not None

    def count(self, size: int) -> None:
        """Count bytes that pass."""
        if size and self.add is not None:
            self.add(size)

    def observe(self, traffic: Traffic, info: TcpInfo) -> None:
        """Take what the kernel says now; the peer's end of stream counts as a byte, but is none."""
        if self.peer_is_done and traffic.received:
            traffic = traffic._replace(received=traffic.received - 1, wire_in=traffic.wire_in - 1)
        super().observe(traffic, info)

    def conclude(
        self, *, certain: bool, sent: bool = False, leaving: bool = False
    ) -> Callable[[], None] | None:
        """End with the last observation; if the end was not told, with what was handed over.

        The last look is old by then, and no more than a send buffer is beyond what arrived.
        """
        if not (certain or sent or leaving):
            self._info = None
        return super().conclude(certain=certain, sent=sent, leaving=leaving)

    def poll(self) -> None:
        """Ask the kernel now; conclude if it has forgotten the connection."""
        connection, connections = self._connection, self._metering.connections
        if connection is None:
            return
        if connections.refresh(connection, self):
            self._missed = 0
            return
        # Where ends are announced, the announcement is on its way and knows more.
        self._missed += 1
        if self._missed > connections.announced:
            self._info = None
            connections.conclude(connection, self)


class FollowedStream(SocketStream):
    """A connection whose bytes nobody counts but the kernel."""

    __slots__ = ()

    def close(self) -> None:
        """Follow it no longer; the connection goes on."""
        self.poll()
        self.ended = True
        self.give_up()

    def _readings(
        self, *, final: bool, certain: bool = True, sent: bool = False, leaving: bool = False
    ) -> Readings:
        del sent, leaving
        return read_followed(
            self.handed,
            self._traffic,
            direction=self._metering.direction,
            final=final,
            certain=certain,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
