"""One view of a request, the same for ASGI scopes, WSGI environs and aiohttp's requests.

No framework is imported: a view reads what the interface hands over, each part when it is asked
for, and never the body.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal

from streamgauge.streams.fields import Fields, HeaderFields, cookie_fields, query_fields

Scope = MutableMapping[str, Any]
"""An ASGI scope."""
Environ = dict[str, Any]
"""A WSGI environ."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class RequestView(ABC):
    """What a request says, read-only; what ``customer=`` and ``metadata=`` are called with.

    Each part is read when it is first asked for. What a framework keeps for itself (path
    parameters, session, user) is empty or None where it does not share it.

    Args:
        raw: The ASGI scope, the WSGI environ, or aiohttp's request.
    """

    interface: ClassVar[Literal["asgi", "wsgi", "aiohttp"]]

    def __init__(self, raw: Any) -> None:  # noqa: ANN401 - three kinds; callers know theirs
        self.raw: Any = raw
        """The ASGI scope, the WSGI environ or the aiohttp request, as the server handed it over."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.path!r}>"

    @property
    @abstractmethod
    def method(self) -> str:
        """Return the method; ``GET`` for a WebSocket, which starts as one."""

    @property
    @abstractmethod
    def path(self) -> str:
        """Return the whole decoded path, where the application is mounted included."""

    @property
    @abstractmethod
    def query_string(self) -> str:
        """Return what follows ``?``, as it was sent."""

    @property
    @abstractmethod
    def peer(self) -> str | None:
        """Return the address the connection comes from, as the server tells it, if it does.

        Servers that believe ``X-Forwarded-For`` (uvicorn does by default, from 127.0.0.1) put what
        that header says here.
        """

    @property
    @abstractmethod
    def state(self) -> Mapping[Any, Any]:
        """Return what middlewares keep for this request.

        ``scope["state"]`` (``request.state``) under ASGI, the environ itself under WSGI, the
        request's own items under aiohttp.
        """

    @property
    @abstractmethod
    def path_params(self) -> Mapping[str, Any]:
        """Return what the framework's router found in the path; empty before it has."""

    @property
    @abstractmethod
    def session(self) -> Mapping[str, Any]:
        """Return the session that a middleware has loaded; empty if there is none."""

    @property
    @abstractmethod
    def user(self) -> object | None:
        """Return whom a middleware has authenticated."""

    @cached_property
    def headers(self) -> HeaderFields:
        """Return the header fields, by name in any case."""
        return HeaderFields(self._header_pairs())

    @cached_property
    def query(self) -> Fields:
        """Return the fields of the query string, decoded.

        Raises:
            ValueError: There are more than ``QUERY_FIELDS_MAX``.
        """
        return query_fields(self.query_string)

    @cached_property
    def cookies(self) -> Fields:
        """Return the cookies."""
        return cookie_fields(self.headers.get_all("cookie"))

    @abstractmethod
    def _header_pairs(self) -> Iterable[tuple[str, str]]: ...


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
        return str(client[0]) if client else None

    @property
    def state(self) -> Mapping[Any, Any]:
        """Return ``scope["state"]``."""
        return _read_only(self.raw.get("state"))

    @property
    def path_params(self) -> Mapping[str, Any]:
        """Return ``scope["path_params"]`` of Starlette, FastAPI and Litestar, or of Channels."""
        found = self.raw.get("path_params")
        if found is None:
            found = (self.raw.get("url_route") or {}).get("kwargs")
        return _read_only(found)

    @property
    def session(self) -> Mapping[str, Any]:
        """Return ``scope["session"]``."""
        return _read_only(self.raw.get("session"))

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
        text = self.raw.get("SCRIPT_NAME", "") + self.raw.get("PATH_INFO", "")
        return str(text).encode("latin-1").decode("utf-8", "replace")

    @property
    def query_string(self) -> str:
        """Return what follows ``?``, as it was sent."""
        return str(self.raw.get("QUERY_STRING", ""))

    @property
    def peer(self) -> str | None:
        """Return ``REMOTE_ADDR``, as it was before Werkzeug's ``ProxyFix``."""
        original = self.raw.get("werkzeug.proxy_fix.orig") or self.raw
        return original.get("REMOTE_ADDR") or None

    @property
    def state(self) -> Mapping[Any, Any]:
        """Return the environ, where WSGI middlewares keep what they know."""
        return _read_only(self.raw)

    @property
    def path_params(self) -> Mapping[str, Any]:
        """Return Flask's ``view_args``, or the names of ``wsgiorg.routing_args``."""
        found = getattr(self.raw.get("werkzeug.request"), "view_args", None)
        if found is None:
            _, found = self.raw.get("wsgiorg.routing_args", ((), None))
        return _read_only(found)

    @property
    def session(self) -> Mapping[str, Any]:
        """Return ``beaker.session``; Flask and Django keep theirs to themselves."""
        return _read_only(self.raw.get("beaker.session"))

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
        transport = self.raw.transport
        peername = None if transport is None else transport.get_extra_info("peername")
        return str(peername[0]) if isinstance(peername, tuple | list) else None

    @property
    def state(self) -> Mapping[Any, Any]:
        """Return the request itself, which is a mapping of what handlers keep in it."""
        return _read_only(self.raw)

    @property
    def path_params(self) -> Mapping[str, Any]:
        """Return ``request.match_info``."""
        return _read_only(self.raw.match_info)

    @property
    def session(self) -> Mapping[str, Any]:
        """Return what aiohttp-session keeps in the request, once it was asked for."""
        return _read_only(self.raw.get("aiohttp_session"))

    @property
    def user(self) -> object | None:
        """Return ``request["user"]``."""
        user: object | None = self.raw.get("user")
        return user

    def _header_pairs(self) -> Iterable[tuple[str, str]]:
        pairs: Iterable[tuple[str, str]] = self.raw.headers.items()
        return pairs


def _read_only(found: Mapping[Any, Any] | None) -> Mapping[Any, Any]:
    return _NOTHING if found is None else MappingProxyType(found)
