"""Finding the socket behind an ASGI request, and how its server writes heads.

No ASGI extension names the socket. Servers keep it at the other end of ``receive`` or ``send``,
which frameworks wrap: each wrapping is looked through, a few steps deep.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Final

from streamgauge.streams.kernel.tcp_info import Readable
from streamgauge.streams.model import STATUSES_WITHOUT_BODY, Headers, fields_bytes, head_bytes
from streamgauge.streams.requests import Scope

_DEPTH_MAX: Final = 8
_WRAPPED_NAMES: Final = frozenset({"send", "_send", "asgi_send", "receive", "_receive"})

HeadModel = Callable[[int, Headers, bool, bool], int]
"""Bytes of a head: of a status, fields, whether the chunked coding and the end are added."""


class Link:
    """The server's end of a request.

    Attributes:
        socket: The connection's socket; None: it is not known.
        is_tls: Whether the server encrypts.
        head_bytes: How many bytes a head has; None: it is not known.
    """

    __slots__ = ("head_bytes", "is_tls", "socket")

    def __init__(
        self, socket: Readable | None, *, is_tls: bool, head_bytes: HeadModel | None = None
    ) -> None:
        self.socket = socket
        self.is_tls = is_tls
        self.head_bytes = head_bytes


def link_of(scope: Scope, receive: object, send: object) -> Link:
    """Return what can be found out about the server's end of a request."""
    for end in (*_ends(receive), *_ends(send)):
        module = type(end).__module__
        for package, link in _SERVERS.items():
            if module.startswith(package) and (found := _tried(link, end)) is not None:
                return found
    return Link(None, is_tls=scope.get("scheme") in {"https", "wss"})


def adds_chunked(scope: Scope, status: int, headers: Headers) -> bool:
    """Return whether a server must frame a body whose length the application does not say."""
    if (
        scope.get("method") == "HEAD"
        or status in STATUSES_WITHOUT_BODY
        or scope.get("http_version") == "1.0"
    ):
        return False
    names = {name.lower() for name, _ in headers}
    return b"content-length" not in names and b"transfer-encoding" not in names


def adds_close(scope: Scope, headers: Headers) -> bool:
    """Return whether a server says that it closes the connection, since the client asked it to."""
    if any(name.lower() == b"connection" and b"close" in value.lower() for name, value in headers):
        return False
    asked = {
        token.strip()
        for name, value in scope["headers"]
        if name == b"connection"
        for token in value.lower().split(b",")
    }
    if scope.get("http_version") == "1.0":
        return b"keep-alive" not in asked
    return b"close" in asked


def _tried(link: Callable[[Any], Link | None], end: object) -> Link | None:
    try:
        return link(end)
    except (AttributeError, TypeError, ValueError, KeyError):
        # Another version keeps it elsewhere.
        return None


def _ends(function: object) -> Iterator[object]:
    """Yield the objects whose methods ``function`` is, or wraps."""
    for _ in range(_DEPTH_MAX):
        owner = getattr(function, "__self__", None)
        if owner is not None:
            yield owner
            return
        if isinstance(function, functools.partial):
            yield from function.args[:1]
            function = function.func
            continue
        wrapped = _closed_over(function)
        if wrapped is None:
            return
        function = wrapped


def _closed_over(function: object) -> object | None:
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    cells = getattr(function, "__closure__", None) or ()
    for name, cell in zip(names, cells, strict=False):
        if name in _WRAPPED_NAMES:
            try:
                found: object = cell.cell_contents
            except ValueError:
                return None
            return found
    return None


def _uvicorn(end: Any) -> Link | None:  # noqa: ANN401 - a server's own object
    transport = getattr(end, "transport", None)
    if transport is None:
        return None
    holder = end if hasattr(end, "default_headers") else getattr(end, "server_state", None)
    defaults: Headers = getattr(holder, "default_headers", ())
    return _link(transport, fields_bytes(defaults), has_phrase=True)


def _hypercorn(end: Any) -> Link | None:  # noqa: ANN401 - a server's own object
    # HTTPStream.send is H11Protocol.stream_send, whose send is TCPServer.protocol_send.
    protocol = getattr(getattr(end, "send", None), "__self__", None)
    server = getattr(getattr(protocol, "send", None), "__self__", None)
    writer = getattr(server, "writer", None)
    if writer is None or not type(protocol).__name__.startswith("H11"):
        return None
    defaults = fields_bytes(end.config.response_headers("h11"))
    return _link(writer, defaults, has_phrase=False)


def _link(transport: Any, default_bytes: int, *, has_phrase: bool) -> Link:  # noqa: ANN401
    def size(status: int, headers: Headers, chunked: bool, closes: bool) -> int:
        return head_bytes(
            status,
            default_bytes + fields_bytes(headers),
            has_phrase=has_phrase,
            adds_chunked=chunked,
            adds_close=closes,
        )

    is_tls = transport.get_extra_info("ssl_object") is not None
    return Link(transport.get_extra_info("socket"), is_tls=is_tls, head_bytes=size)


_SERVERS: Final = {"uvicorn.": _uvicorn, "hypercorn.": _hypercorn}
