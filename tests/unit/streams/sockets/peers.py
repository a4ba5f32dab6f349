"""The other ends of sockets, and patience."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

from streamgauge.sockets import SocketMeter
from streamgauge.streams.layers import Measured

Pair = tuple[socket.socket, socket.socket]
Meters = Callable[..., SocketMeter]


def until(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def receive(peer: socket.socket, size: int | None = None) -> int:
    """Return how many bytes came, of ``size`` or until the end of the stream."""
    got = 0
    while size is None or got < size:
        data = peer.recv(65_536)
        if not data:
            break
        got += len(data)
    return got


def last(measured: list[Measured]) -> Measured:
    until(lambda: measured)
    return measured[-1]
