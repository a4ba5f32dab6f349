"""Finding the socket behind a WSGI request, and how its server writes heads.

Servers leave their socket in the environ, under names of their own or at the other end of
``wsgi.input``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from streamgauge.streams.kernel.tcp_info import Readable
from streamgauge.streams.requests import Environ

_SOCKETS: Final = ("gunicorn.socket", "gunicorn.sock", "werkzeug.socket")
_INTERIM: Final = len(b"HTTP/1.1 100 Continue\r\n\r\n")
_LINE_END: Final = len(b"\r\n")
_FIELD_MARKS: Final = len(b": \r\n")


class Head(NamedTuple):
    """What a server writes before a body.

    Attributes:
        size: Its bytes.
        is_chunked: Whether the server puts something around every chunk.
    """

    size: int
    is_chunked: bool


class WsgiLink(NamedTuple):
    """The server's end of a request.

    Attributes:
        socket: The connection's socket; None: it is not known.
        is_tls: Whether the server encrypts.
        head: Says what the head has, once the application has started, if that is known.
    """

    socket: Readable | None
    is_tls: bool
    head: Callable[[], Head | None] | None


def link_of(environ: Environ, start_response: object) -> WsgiLink:
    """Return what can be found out about the server's end of a request."""
    socket = next((environ[name] for name in _SOCKETS if environ.get(name) is not None), None)
    if socket is None:
        socket = _behind_input(environ.get("wsgi.input"))
    server = getattr(start_response, "__self__", None)
    head = None
    if server is not None and type(server).__module__ == "gunicorn.http.wsgi":
        expects = environ.get("HTTP_EXPECT", "").lower() == "100-continue"
        head = _gunicorn_head(server, _INTERIM if expects else 0)
    # A proxy may say https of a connection that is not; a wrapped socket is what it is.
    is_tls = hasattr(socket, "cipher")
    if socket is None:
        is_tls = environ.get("wsgi.url_scheme") == "https"
    return WsgiLink(socket, is_tls, head)


def _behind_input(stream: Any) -> Readable | None:  # noqa: ANN401 - a server's own object
    # wsgiref's is a buffer over a raw stream over the socket; gevent's knows its socket's buffer.
    raw = getattr(getattr(stream, "rfile", stream), "raw", None)
    socket: Readable | None = getattr(raw, "_sock", None)
    return socket if hasattr(socket, "getsockopt") else None


def _gunicorn_head(response: Any, before: int) -> Callable[[], Head | None]:  # noqa: ANN401
    def head() -> Head | None:
        try:
            lines = sum(map(len, response.default_headers()))
            chunked = bool(response.chunked)
            fields = sum(len(name) + len(value) + _FIELD_MARKS for name, value in response.headers)
        except (AttributeError, TypeError, ValueError):
            # Another version keeps it elsewhere.
            return None
        return Head(before + lines + fields + _LINE_END, chunked)

    return head
