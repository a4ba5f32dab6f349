"""Bill the bytes of connections that an application makes or accepts itself."""

from __future__ import annotations

from streamgauge.streams.sockets.asyncio_streams import MeasuredReader, MeasuredWriter
from streamgauge.streams.sockets.meter import SocketMeter
from streamgauge.streams.sockets.plain import MeasuredSocket
from streamgauge.streams.sockets.stream import FollowedStream

__all__ = ["FollowedStream", "MeasuredReader", "MeasuredSocket", "MeasuredWriter", "SocketMeter"]
