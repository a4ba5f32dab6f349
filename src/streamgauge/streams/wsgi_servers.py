"""Finding the socket behind a WSGI request, and how its server writes heads.

Servers leave their socket in the environ, under names of their own or at the other end of
``wsgi.input``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from streamgauge.streams.kernel.tcp_info import Readable
from streamgauge.streams.link import Head, Link
from streamgauge.streams.model import CONTINUE_BYTES
from streamgauge.streams.requests import Environ

_SOCKETS: Final = ("gunicorn.socket", "gunicorn.sock", "werkzeug.socket")
_LINE_END: Final = len(b"\r\n")
_FIELD_MARKS: Final = len(b": \r\n")


def link_of(environ: Environ, start_response: object) -> Link:
    """Return what can be found out about the server's end of a request."""
    socket = next((environ[name] for name in _SOCKETS if environ.get(name) is not None), None)
    if socket is None:
        socket = _behind_input(environ.get("wsgi.input"))
    server = getattr(start_response, "__self__", None)
    # A proxy may say https of a connection that is not; a wrapped socket is what it is.
    is_tls = hasattr(socket, "cipher")
    if socket is None:
        is_tls = environ.get("wsgi.url_scheme") == "https"
    if not str(environ.get("SERVER_PROTOCOL", "")).startswith("HTTP/1."):
        # In later versions of HTTP several exchanges share a connection at a time.
        return Link(is_tls=is_tls)
    server = getattr(start_response, "__self__", None)
    if server is None or type(server).__module__ != "gunicorn.http.wsgi":
        return Link(is_tls=is_tls, socket=socket)
    expects = environ.get("HTTP_EXPECT", "").lower() == "100-continue"
    early_bytes = CONTINUE_BYTES if expects else 0
    return Link(
        is_tls=is_tls,
        socket=socket,
        started_head=_gunicorn_head(server, early_bytes),
        early_bytes=early_bytes,
    )


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
