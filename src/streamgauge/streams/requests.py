"""One view of a request, the same for ASGI scopes, WSGI environs and aiohttp's requests.

No framework is imported: a view reads what the interface hands over, each part when it is asked
for, and never the body.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from streamgauge.streams.view import UNIX_PEER, RequestView, read_only

Scope = MutableMapping[str, Any]
"""An ASGI scope."""
Environ = dict[str, Any]
"""A WSGI environ."""


class AsgiRequestView(RequestView):
    """The view of an ASGI scope of type ``http`` or ``websocket``."""

    interface = "asgi"
    raw: Scope

    @property
    def method(self) -> str:
        """Return the method; ``GET`` for a WebSocket, which starts as one."""
        return str(self.raw.get("method", "GET"))

    @property
    def path(self) -> str:
        """Return the whole decoded path, where the application is mounted included."""
        return str(self.raw.get("path", ""))

    @property
    def query_string(self) -> str:
        """Return what follows ``?``, as it was sent."""
        return bytes(self.raw.get("query_string") or b"").decode("latin-1")

    @property
    def peer(self) -> str | None:
        """Return the first half of ``scope["client"]``."""
        client = self.raw.get("client")
        if client:
            return str(client[0])
        # The address of a socket that is a path has no port.
        server = self.raw.get("server")
        return UNIX_PEER if server and server[1] is None else None

    @property
    def peer_port(self) -> int | None:
        """Return the second half of ``scope["client"]``."""
        client = self.raw.get("client")
        return _port(client[1]) if client else None

    @property
    def state(self) -> Mapping[Any, Any]:
        """Return ``scope["state"]``."""
        return read_only(self.raw.get("state"))

    @property
    def path_params(self) -> Mapping[str, Any]:
        """Return ``scope["path_params"]`` of Starlette, FastAPI and Litestar, or of Channels."""
        found = self.raw.get("path_params")
        if found is None:
            found = (self.raw.get("url_route") or {}).get("kwargs")
        return read_only(found)

    @property
    def session(self) -> Mapping[str, Any]:
        """Return ``scope["session"]``."""
        return read_only(self.raw.get("session"))

    @property
    def user(self) -> object | None:
        """Return ``scope["user"]``."""
        user: object | None = self.raw.get("user")
        return user

    def _header_pairs(self) -> Iterator[tuple[str, str]]:
        for name, value in self.raw.get("headers", ()):
            yield name.decode("latin-1"), value.decode("latin-1")


class WsgiRequestView(RequestView):
    """The view of a WSGI environ (PEP 3333)."""

    interface = "wsgi"
    raw: Environ

    @property
    def method(self) -> str:
        """Return the method."""
        return str(self.raw.get("REQUEST_METHOD", "GET"))

    @property
    def path(self) -> str:
        """Return ``SCRIPT_NAME`` and ``PATH_INFO``, decoded as UTF-8."""
        text = str(self.raw.get("SCRIPT_NAME", "") + self.raw.get("PATH_INFO", ""))
        try:
            return text.encode("latin-1").decode()
        except UnicodeError:
            # No UTF-8, or Django has put the decoded path back.
            return text

    @property
    def query_string(self) -> str:
        """Return what follows ``?``, as it was sent."""
        return str(self.raw.get("QUERY_STRING", ""))

    @property
    def peer(self) -> str | None:
        """Return ``REMOTE_ADDR``, as it was before Werkzeug's ``ProxyFix``."""
        original = self.raw.get("werkzeug.proxy_fix.orig") or self.raw
        address = original.get("REMOTE_ADDR")
        if address:
            return str(address)
        return _unix(self.raw.get("gunicorn.socket"))

    @property
    def peer_port(self) -> int | None:
        """Return ``REMOTE_PORT``."""
        return _port(self.raw.get("REMOTE_PORT"))

    @property
    def state(self) -> Mapping[Any, Any]:
        """Return the environ, where WSGI middlewares keep what they know."""
        return read_only(self.raw)

    @property
    def path_params(self) -> Mapping[str, Any]:
        """Return Flask's ``view_args``, or the names of ``wsgiorg.routing_args``."""
        found = getattr(self.raw.get("werkzeug.request"), "view_args", None)
        if found is None:
            _, found = self.raw.get("wsgiorg.routing_args", ((), None))
        return read_only(found)

    @property
    def session(self) -> Mapping[str, Any]:
        """Return ``beaker.session``; Flask and Django keep theirs to themselves."""
        return read_only(self.raw.get("beaker.session"))

    @property
    def user(self) -> object | None:
        """Return ``REMOTE_USER``."""
        return self.raw.get("REMOTE_USER") or None

    def _header_pairs(self) -> Iterator[tuple[str, str]]:
        for key, value in self.raw.items():
            if key.startswith("HTTP_"):
                yield key[len("HTTP_") :].replace("_", "-"), value
            elif key in {"CONTENT_TYPE", "CONTENT_LENGTH"} and value:
                yield key.replace("_", "-"), value


class AiohttpRequestView(RequestView):
    """The view of an ``aiohttp.web.Request``."""

    interface = "aiohttp"

    @property
    def method(self) -> str:
        """Return the method."""
        return str(self.raw.method)

    @property
    def path(self) -> str:
        """Return the whole decoded path."""
        return str(self.raw.path)

    @property
    def query_string(self) -> str:
        """Return what follows ``?``, as aiohttp keeps it: quoted the usual way."""
        return str(self.raw.rel_url.raw_query_string)

    @property
    def peer(self) -> str | None:
        """Return the address of the socket's other end; None when it is closed."""
        peername = self._extra("peername")
        return str(peername[0]) if isinstance(peername, tuple) else _unix(self._extra("socket"))

    @property
    def peer_port(self) -> int | None:
        """Return the port of the socket's other end."""
        peername = self._extra("peername")
        return _port(peername[1]) if isinstance(peername, tuple) else None

    @property
    def state(self) -> Mapping[Any, Any]:
        """Return the request itself, which is a mapping of what handlers keep in it."""
        return read_only(self.raw)

    @property
    def path_params(self) -> Mapping[str, Any]:
        """Return ``request.match_info``."""
        return read_only(self.raw.match_info)

    @property
    def session(self) -> Mapping[str, Any]:
        """Return what aiohttp-session keeps in the request, once it was asked for."""
        return read_only(self.raw.get("aiohttp_session"))

    @property
    def user(self) -> object | None:
        """Return ``request["user"]``."""
        user: object | None = self.raw.get("user")
        return user

    def _header_pairs(self) -> Iterable[tuple[str, str]]:
        pairs: Iterable[tuple[str, str]] = self.raw.headers.items()
        return pairs

    def _extra(self, name: str) -> object:
        transport = self.raw.transport
        return None if transport is None else transport.get_extra_info(name)


def _port(found: object) -> int | None:
    text = str(found)
    return int(text) if text.isascii() and text.isdigit() else None


def _unix(socket: object) -> str | None:
    # Its family tells; servers of some systems have no such sockets.
    return UNIX_PEER if getattr(getattr(socket, "family", None), "name", "") == "AF_UNIX" else None
