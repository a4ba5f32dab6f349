"""The server's end of a request: its connection, and what it writes around a body."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from streamgauge.streams.http2 import StreamEnd
from streamgauge.streams.kernel.tcp_info import Readable
from streamgauge.streams.model import Headers
from streamgauge.streams.websockets import Around

HeadModel = Callable[[int, Headers, bool, bool], int]
"""Bytes of a head: of a status, fields, whether the chunked coding and the end are added."""
Addresses = tuple[tuple[str, int], tuple[str, int]]
"""Address and port of this end and of the other."""


class Head(NamedTuple):
    """What a server writes before a body.

    Attributes:
        size: Its bytes.
        is_chunked: Whether the server puts something around every chunk.
    """

    size: int
    is_chunked: bool


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """The server's end of a request.

    Attributes:
        is_tls: Whether the server encrypts.
        socket: The connection's socket; None: it is not known.
        stream: The end of a stream that shares its connection with others; None: it does not.
        addresses: What else the connection can be found by.
        head_bytes: Says how many bytes a head has; None: it is not known.
        started_head: Says what the head has, once the application has started; None: as above.
        around_messages: Says what it wrote on a WebSocket that was no message; None: as above.
        always_chunks: Whether it frames bodies also for clients of HTTP/1.0.
        early_bytes: What it has written of the response before the application runs.
        interim_bytes: What it writes when the application asks for the request's body.
    """

    is_tls: bool
    socket: Readable | None = None
    stream: StreamEnd | None = None
    addresses: Addresses | None = None
    head_bytes: HeadModel | None = None
    started_head: Callable[[], Head | None] | None = None
    around_messages: Callable[[], Around | None] | None = None
    always_chunks: bool = False
    early_bytes: int = 0
    interim_bytes: int = 0
