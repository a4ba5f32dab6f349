"""What a platform may hold of a response that its customer never gets.

Bytes are counted when the application hands them to its server. Between there and the customer
they lie in three places, each with a limit that can be read:

- the process: the server's write buffer. It stops the application once more than its high-water
  mark waits, so it holds at most the mark and the chunk that passed it; one more chunk may be
  counted and wait for its turn. SIGKILL destroys these bytes.
- the platform's kernel: the send buffer of the socket. It survives the process, and the kernel
  goes on sending; when the connection then ends in order (FIN), it has delivered all of it. Only
  a reset (RST), or a customer who leaves, makes it throw away what it holds.
- the customer's kernel: the receive buffer, which a customer who leaves never reads.

A platform that lives reads back from its kernel what arrived, so nothing is in doubt then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
from starlette.responses import FileResponse
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from streamgauge.demo.payload import Exchange
from streamgauge.demo.relay import Connection, Ending

_SEND_BUFFER_LIMITS: Final = Path("/proc/sys/net/ipv4/tcp_wmem")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits as read from this system.

    Attributes:
        write_buffer_bytes: The server's high-water mark.
        chunk_bytes: What the application hands over at once.
        send_buffer_bytes: The largest send buffer the kernel grants a socket.
    """

    write_buffer_bytes: int
    chunk_bytes: int
    send_buffer_bytes: int

    @property
    def process_bytes(self) -> int:
        """Return the most that the process may hold of one response."""
        return self.write_buffer_bytes + 2 * self.chunk_bytes


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One response that did not arrive whole, or was on its way when the platform died.

    Attributes:
        target: What was asked for.
        declared: Its length as the platform stated it; None for a live feed.
        received: What arrived of it.
        received_at_death: What of it had arrived when the platform died; None if it had not died.
        ending: How its connection ended.
        process_bytes_max: What the process may have held of it.
        kernels_bytes_max: What the kernels may have held of it and thrown away.
        bytes_max: How much more than ``received`` may have been counted.
    """

    target: str
    declared: int | None
    received: int
    received_at_death: int | None
    ending: Ending
    process_bytes_max: int
    kernels_bytes_max: int
    bytes_max: int


def read_limits(send_buffers: Path = _SEND_BUFFER_LIMITS) -> Limits:
    """Return the limits of the server and of this machine's kernel."""
    return Limits(
        write_buffer_bytes=HIGH_WATER_LIMIT,
        chunk_bytes=FileResponse.chunk_size,
        send_buffer_bytes=int(send_buffers.read_text(encoding="ascii").split()[2]),
    )


def held(connection: Connection, limits: Limits) -> list[Held]:
    """Return what may be missing at the customer's end of one connection, response by response."""
    return [
        _held_of(connection, exchange, limits)
        for exchange in connection.exchanges
        if exchange.at_death is not None or not exchange.complete
    ]


def _held_of(connection: Connection, exchange: Exchange, limits: Limits) -> Held:
    process = kernels = 0
    if not exchange.complete and exchange.at_death is not None:
        process = limits.process_bytes
        if connection.ending is not Ending.FINISHED:
            kernels = limits.send_buffer_bytes + connection.receive_buffer_bytes
    bytes_max = process + kernels
    if exchange.declared is not None:
        bytes_max = min(bytes_max, exchange.declared - exchange.payload)
    return Held(
        target=exchange.target,
        declared=exchange.declared,
        received=exchange.payload,
        received_at_death=exchange.at_death,
        ending=connection.ending,
        process_bytes_max=process,
        kernels_bytes_max=kernels,
        bytes_max=bytes_max,
    )
