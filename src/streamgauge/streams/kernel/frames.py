"""Frames of HTTP/2 by RFC 9113, section 4.1: a head with length, type, flags and stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from streamgauge.streams.kernel.tcp_info import Traffic

NO_TRAFFIC: Final = Traffic(0, 0, 0, 0, 0)
_HEAD_BYTES: Final = 9
_DATA: Final = 0
_ENDS: Final = frozenset({_DATA, 1})  # DATA and HEADERS
_END_STREAM: Final = 1


class Carried(NamedTuple):
    """What arrived of one exchange.

    Attributes:
        payload: Bytes in DATA frames.
        http: Bytes of its frames.
        traffic: Its part of what the connection carried.
        has_end: Whether its last frame is among them.
    """

    payload: int
    http: int
    traffic: Traffic
    has_end: bool = False


NOTHING_CARRIED: Final = Carried(0, 0, NO_TRAFFIC)


class Frame:
    """A frame on its way.

    Attributes:
        stream: Whose it is; 0: the connection's own.
        size: Its bytes, with what encryption adds.
        http: Its bytes.
        payload: Bytes of data in it, at its end.
        is_last: Whether its stream ends with it.
        arrived: How many of ``size`` arrived.
    """

    __slots__ = ("arrived", "http", "is_last", "payload", "size", "stream")

    def __init__(
        self, stream: int, size: int, http: int, payload: int, *, is_last: bool = False
    ) -> None:
        self.is_last = is_last
        self.stream = stream
        self.size = size
        self.http = http
        self.payload = payload
        self.arrived = 0

    def inner(self, size: int) -> int:
        """Return how much of ``size`` bytes at its end has arrived."""
        return max(self.arrived - self.size + size, 0)


def frames_of(data: bytes, added_bytes: int) -> Iterator[Frame]:
    """Yield the frames that ``data`` consists of; the first one bears what encryption adds."""
    at = 0
    while at + _HEAD_BYTES <= len(data):
        length = int.from_bytes(data[at : at + 3], "big")
        kind, flags = data[at + 3], data[at + 4]
        stream = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF
        http = _HEAD_BYTES + length
        payload = length if kind == _DATA else 0
        is_last = kind in _ENDS and bool(flags & _END_STREAM)
        yield Frame(stream, http + added_bytes, http, payload, is_last=is_last)
        added_bytes = 0
        at += http
