"""The requests of frameworks, told apart by what they carry; none is imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Protocol

from streamgauge.core.errors import InvalidInputError
from streamgauge.streams.requests import (
    AiohttpRequestView,
    AsgiRequestView,
    Environ,
    Scope,
    WsgiRequestView,
)
from streamgauge.streams.view import RequestView, read_only


class HasScope(Protocol):
    """A Starlette or FastAPI ``Request`` or ``WebSocket``, or anything like it."""

    @property
    def scope(self) -> Scope:
        """Return the ASGI scope."""


class HasEnviron(Protocol):
    """A Flask ``request``, or that of any WSGI framework."""

    @property
    def environ(self) -> Environ:
        """Return the WSGI environ."""


class DjangoRequest(Protocol):
    """A Django ``HttpRequest``; under ASGI it has a ``scope``, under WSGI an ``environ``."""

    META: dict[str, Any]
    COOKIES: dict[str, str]


class AiohttpRequest(Protocol):
    """An ``aiohttp.web.Request``, which is a mapping of what handlers keep in it."""

    @property
    def match_info(self) -> Mapping[str, str]:
        """Return what the router found."""

    def get(self, key: str, /) -> Any:  # noqa: ANN401 - as aiohttp has it
        """Return what was kept."""


Billable = HasScope | HasEnviron | DjangoRequest | AiohttpRequest | Scope | Environ
"""A request whose response can be billed."""


def view_of(request: Billable) -> RequestView:
    """Return the view of a request, to ask a resolver from inside of an application.

    Django keeps path parameters, session and user in its own request, out of a middleware's sight;
    a Django middleware shows them: ``resolver(view_of(request))``.

    Args:
        request: As for ``bill_to``.

    Raises:
        InvalidInputError: It is no request of a known kind.
    """
    view = _interface_view(request)
    return _DjangoRequestView(view, request) if hasattr(request, "META") else view


def _interface_view(request: object) -> RequestView:
    # Attributes, since Flask's proxy and Django REST framework's request only hand these on.
    scope = getattr(request, "scope", None)
    if isinstance(scope, MutableMapping):
        return AsgiRequestView(scope)
    environ = getattr(request, "environ", None)
    if isinstance(environ, dict):
        return WsgiRequestView(environ)
    if isinstance(request, MutableMapping):
        if "REQUEST_METHOD" in request:
            return WsgiRequestView(request)
        # An aiohttp request is a mapping of what handlers keep in it.
        if hasattr(request, "match_info"):
            return AiohttpRequestView(request)
        if "type" in request:
            return AsgiRequestView(request)
    rule = "be a request of a known framework, an ASGI scope or a WSGI environ"
    raise InvalidInputError("request", request, rule)


class _DjangoRequestView(RequestView):
    """What Django knows of a request, beside what its server said."""

    def __init__(self, seen: RequestView, request: Any) -> None:  # noqa: ANN401 - an HttpRequest
        super().__init__(seen.raw)
        self.interface = seen.interface
        self._seen = seen
        self._request = request

    @property
    def method(self) -> str:
        return self._seen.method

    @property
    def path(self) -> str:
        return self._seen.path

    @property
    def query_string(self) -> str:
        return self._seen.query_string

    @property
    def peer(self) -> str | None:
        return self._seen.peer

    @property
    def peer_port(self) -> int | None:
        return self._seen.peer_port

    @property
    def state(self) -> Mapping[Any, Any]:
        return self._seen.state

    @property
    def path_params(self) -> Mapping[str, Any]:
        return read_only(getattr(self._request.resolver_match, "kwargs", None))

    @property
    def session(self) -> Mapping[str, Any]:
        return read_only(getattr(self._request, "session", None))

    @property
    def user(self) -> object | None:
        user: object | None = getattr(self._request, "user", None)
        return user

    def _header_pairs(self) -> Iterable[tuple[str, str]]:
        return self._seen.headers.items()
