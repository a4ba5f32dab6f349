"""HTTP/2 in hypercorn: its frames, heard where it gives them to the connection."""

from __future__ import annotations

import functools
from collections.abc import Awaitable
from typing import Any

import msgspec

from streamgauge.streams.kernel.connections import Connections
from streamgauge.streams.kernel.shared import Shared, SharingExchange
from streamgauge.streams.model import RECORD_OVERHEADS_BYTES, record_overhead_bytes


class Outgoing:
    """Stands before a connection's ``send``, and notes what is sent.

    Args:
        protocol: Hypercorn's own of the connection.
    """

    def __init__(self, protocol: Any) -> None:  # noqa: ANN401 - a server's own object
        self.writer = protocol.send.__self__.writer
        each = _record_overhead_bytes(self.writer.get_extra_info("cipher"))
        self.shared = Shared(functools.partial(record_overhead_bytes, each=each))
        self._send = protocol.send

    def send(self, event: Any) -> Awaitable[None]:  # noqa: ANN401 - a server's own object
        """Note the frames of ``event``, if it has any, and hand it on."""
        data = getattr(event, "data", None)
        if data:
            self.shared.note(data)
        sent: Awaitable[None] = self._send(event)
        return sent


class StreamEnd(msgspec.Struct, frozen=True):
    """The server's end of one stream of HTTP/2.

    Attributes:
        outgoing: The connection's.
        stream: Hypercorn's own.
    """

    outgoing: Outgoing
    stream: Any

    def join(self, connections: Connections, exchange: SharingExchange) -> bool:
        """Serve ``exchange`` on it; return whether the kernel can be asked."""
        writer, stream = self.outgoing.writer, self.stream
        buffers = stream.send.__self__.stream_buffers
        return self.outgoing.shared.join(
            connections,
            writer.get_extra_info("socket"),
            stream.stream_id,
            exchange,
            # Closed when its buffer was emptied, so the frame that ends it may be yet to come.
            is_closed=lambda: bool(stream.closed) and stream.stream_id not in buffers,
            buffered_bytes=writer.transport.get_write_buffer_size(),
        )


def stream_end(stream: Any) -> StreamEnd | None:  # noqa: ANN401 - as above
    """Return the end of hypercorn's ``stream`` of HTTP/2; None: it is none."""
    # HTTPStream.send is H2Protocol.stream_send, whose send is TCPServer.protocol_send.
    protocol = stream.send.__self__
    if type(protocol).__name__ != "H2Protocol" or type(stream).__name__ != "HTTPStream":
        return None
    outgoing = protocol.send.__self__
    if not isinstance(outgoing, Outgoing):
        outgoing = Outgoing(protocol)
        protocol.send = outgoing.send
    return StreamEnd(outgoing, stream)


def _record_overhead_bytes(cipher: tuple[str, str, int] | None) -> int:
    """Return what a record adds; None: nothing is encrypted."""
    if cipher is None:
        return 0
    tls_1_3, aes_gcm, chacha = RECORD_OVERHEADS_BYTES
    name, protocol, _ = cipher
    if protocol == "TLSv1.3":
        return tls_1_3
    return chacha if "CHACHA20" in name else aes_gcm
