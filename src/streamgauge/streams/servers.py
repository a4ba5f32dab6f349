"""Finding the socket behind an ASGI request, and how its server writes heads.

No ASGI extension names the socket. Servers keep it at the other end of ``receive`` or ``send``,
which frameworks wrap: each wrapping is looked through, a few steps deep. Where the other end is not
written in Python, the kernel knows the connection by its addresses.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Final

from streamgauge.streams.http2 import stream_end
from streamgauge.streams.link import Head, HeadModel, Link
from streamgauge.streams.model import (
    CONTINUE_BYTES,
    STATUSES_WITHOUT_BODY,
    Headers,
    fields_bytes,
    head_bytes,
)
from streamgauge.streams.requests import Scope
from streamgauge.streams.websockets import around_messages

_DEPTH_MAX: Final = 8
# In later versions of HTTP several exchanges share a connection at a time.
_ONE_AT_A_TIME: Final = frozenset({"1.0", "1.1"})
_WRAPPED_NAMES: Final = frozenset({"send", "_send", "asgi_send", "receive", "_receive"})


def link_of(scope: Scope, receive: object, send: object) -> Link:
    """Return what can be found out about the server's end of a request."""
    if scope.get("http_version", "1.1") in _ONE_AT_A_TIME:
        for end in (*_ends(receive), *_ends(send)):
            module = type(end).__module__
            for package, link in _SERVERS.items():
                if module.startswith(package) and (found := _tried(link, end, scope)) is not None:
                    return found
    elif scope["type"] == "http":
        for end in (*_ends(receive), *_ends(send)):
            if type(end).__module__.startswith("hypercorn."):
                found = _tried(_hypercorn_stream, end, scope)
                if found is not None:
                    return found
    return Link(is_tls=_is_secure(scope))


def _is_secure(scope: Scope) -> bool:
    return scope.get("scheme") in {"https", "wss"}


def _expects(scope: Scope) -> bool:
    """Return whether the client waits for ``100 Continue`` before it sends a body."""
    if scope.get("http_version") != "1.1":
        return False
    return any(
        name == b"expect" and value.lower() == b"100-continue" for name, value in scope["headers"]
    )


def head_of(link: Link, scope: Scope, status: int, headers: Headers) -> Head | None:
    """Return what the server writes before a body, if that is known."""
    if link.head_bytes is None or scope.get("http_version") not in _ONE_AT_A_TIME:
        return None
    headers = list(headers)
    chunked = _adds_chunked(scope, status, headers, always=link.always_chunks)
    size = link.head_bytes(status, headers, chunked, _adds_close(scope, headers))
    named = any(name.lower() == b"transfer-encoding" for name, _ in headers)
    return Head(link.early_bytes + size, is_chunked=chunked or named)


def _adds_chunked(scope: Scope, status: int, headers: Headers, *, always: bool) -> bool:
    """Return whether a server must frame a body whose length the application does not say."""
    if scope.get("method") == "HEAD" or status in STATUSES_WITHOUT_BODY:
        return False
    if scope.get("http_version") == "1.0" and not always:
        return False
    names = {name.lower() for name, _ in headers}
    return b"content-length" not in names and b"transfer-encoding" not in names


def _adds_close(scope: Scope, headers: Headers) -> bool:
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


def _tried(find: Finder, end: object, scope: Scope) -> Link | None:
    try:
        return find(end, scope)
    except (AttributeError, TypeError, ValueError, KeyError, IndexError):
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
            if (enclosing := _enclosing(function)) is not None:
                yield enclosing
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


def _enclosing(function: object) -> object | None:
    """Return the ``self`` of the method that ``function`` was defined in."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    cells = getattr(function, "__closure__", None) or ()
    return next(
        (cell.cell_contents for name, cell in zip(names, cells, strict=False) if name == "self"),
        None,
    )


def _uvicorn(end: Any, scope: Scope) -> Link | None:  # noqa: ANN401 - a server's own object
    transport = getattr(end, "transport", None)
    if transport is None:
        return None
    holder = end if hasattr(end, "default_headers") else getattr(end, "server_state", None)
    defaults: Headers = getattr(holder, "default_headers", ())
    return _transport_link(
        transport,
        _head_model(fields_bytes(defaults), has_phrase=True),
        around_messages=functools.partial(around_messages, end),
        always_chunks="httptools" in type(end).__module__,
        interim_bytes=CONTINUE_BYTES if _expects(scope) else 0,
    )


def _hypercorn(end: Any, scope: Scope) -> Link | None:  # noqa: ANN401 - a server's own object
    # HTTPStream.send is H11Protocol.stream_send, whose send is TCPServer.protocol_send.
    protocol = getattr(getattr(end, "send", None), "__self__", None)
    server = getattr(getattr(protocol, "send", None), "__self__", None)
    writer = getattr(server, "writer", None)
    if writer is None or not type(protocol).__name__.startswith("H11"):
        return None
    defaults = fields_bytes(end.config.response_headers("h11"))
    interim = head_bytes(100, defaults, has_phrase=False, adds_chunked=False, adds_close=False)
    return _transport_link(
        writer,
        _head_model(defaults, has_phrase=False),
        early_bytes=interim if _expects(scope) else 0,
    )


def _hypercorn_stream(end: Any, scope: Scope) -> Link | None:  # noqa: ANN401 - as above
    stream = stream_end(end)
    return None if stream is None else Link(is_tls=_is_secure(scope), stream=stream)


def _gunicorn(end: Any, _scope: Scope) -> Link | None:  # noqa: ANN401 - a server's own object
    # Of its own ASGI worker; its WebSockets keep the transport, too.
    return _transport_link(end.transport)


def _daphne(end: Any, scope: Scope) -> Link | None:  # noqa: ANN401 - a server's own object
    # Twisted's transport; of a TLS connection it is no socket that it hands out.
    socket = end.transport.getHandle()
    return Link(socket=socket, is_tls=_is_secure(scope)) if hasattr(socket, "family") else None


def _granian(_end: Any, scope: Scope) -> Link | None:  # noqa: ANN401 - a server's own object
    # Written in Rust; its ports are texts.
    (host, port), (peer, peer_port) = scope["server"], scope["client"]
    return Link(is_tls=_is_secure(scope), addresses=((host, int(port)), (peer, int(peer_port))))


def _head_model(default_bytes: int, *, has_phrase: bool) -> HeadModel:
    def size(status: int, headers: Headers, chunked: bool, closes: bool) -> int:
        return head_bytes(
            status,
            default_bytes + fields_bytes(headers),
            has_phrase=has_phrase,
            adds_chunked=chunked,
            adds_close=closes,
        )

    return size


def _transport_link(transport: Any, model: HeadModel | None = None, **more: Any) -> Link:  # noqa: ANN401
    return Link(
        is_tls=transport.get_extra_info("ssl_object") is not None,
        socket=transport.get_extra_info("socket"),
        head_bytes=model,
        **more,
    )


Finder = Callable[[Any, Scope], Link | None]

_SERVERS: Final[dict[str, Finder]] = {
    "uvicorn.": _uvicorn,
    "hypercorn.": _hypercorn,
    "gunicorn.asgi.": _gunicorn,
    "daphne.": _daphne,
    "granian.": _granian,
}
