"""What a request says, whatever interface it came by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Literal

from streamgauge.streams.fields import Fields, HeaderFields, cookie_fields, query_fields

UNIX_PEER: Final = "unix"
"""The peer of a connection over a Unix socket, which has no address."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class RequestView(ABC):
    """What a request says, read-only; what ``customer=`` and ``metadata=`` are called with.

    Each part is read when it is first asked for. What a framework keeps for itself (path
    parameters, session, user) is empty or None where it does not share it.

    Args:
        raw: The ASGI scope, the WSGI environ, or aiohttp's request.
    """

    interface: Literal["asgi", "wsgi", "aiohttp"]

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

        ``unix`` over a Unix socket. Servers that believe ``X-Forwarded-For`` (uvicorn does by
        default, from 127.0.0.1) put what that header says here.
        """

    @property
    @abstractmethod
    def peer_port(self) -> int | None:
        """Return the port beside ``peer``, if the server tells it."""

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


def read_only(found: Mapping[Any, Any] | None) -> Mapping[Any, Any]:
    """Return ``found`` for reading; nothing is empty."""
    return _NOTHING if found is None else MappingProxyType(found)
