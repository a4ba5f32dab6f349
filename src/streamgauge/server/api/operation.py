"""An operation of the API as a value: where it is, what it takes, what it answers, who does it.

A resource module exports ``OPERATIONS``; ``api/routes.py`` serves such tables and
``api/openapi.py`` describes them. A handler gets decoded, checked input and returns a struct.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from streamgauge.core.keys import KeyScope
from streamgauge.server.parts import Parts

T = TypeVar("T")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks.

    Attributes:
        business_id: Whose data.
        mode: ``test_mode`` or ``live_mode``; a caller sees one of them only.
        key_id: The key, or ``operator`` for the local operator behind the unix socket.
        scope: What it may do.
        strict_timestamps: Sends only events that are at most an hour old.
    """

    business_id: str
    mode: str
    key_id: str
    scope: KeyScope
    strict_timestamps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, decoded.

    Attributes:
        caller: Who asks.
        path: Path parameters by name, percent-decoded.
        query: The operation's ``query`` struct, or None.
        body: The operation's ``body`` struct, or None.
        request_id: Names this request in logs and answers.
        parts: The running server.
    """

    caller: Caller
    path: dict[str, str]
    query: Any
    body: Any
    request_id: str
    parts: Parts

    async def run(self, function: Callable[..., T], /, *args: object) -> T:
        """Return ``function(*args)``, called in the bounded thread pool."""
        return await self.parts.run(function, *args)


Handler = Callable[[Call], Awaitable[object]]
"""Returns a struct to encode, or None for an empty body."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of the API.

    Attributes:
        method: HTTP method, upper case.
        path: Such as ``/meters/{id}``.
        summary: One phrase for the description of the API.
        tag: The resource it belongs to.
        handler: Does it.
        query: Struct of the query parameters; each needs a default unless it is required.
        body: Struct of the JSON body; None refuses nothing and reads nothing.
        response: Struct of the JSON answer; None for an empty one.
        status: Status of success.
        needs: The least scope of a key that may ask for it.
    """

    method: str
    path: str
    summary: str
    tag: str
    handler: Handler
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    response: type[msgspec.Struct] | None = None
    status: int = 200
    needs: KeyScope = "read"
