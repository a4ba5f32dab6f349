"""Operation tables as Starlette routes.

Path parameters are decoded after routing, from the raw path, so an id may contain a slash
(``/events/a%2Fb``). A body is read only where an operation has one: the official SDKs send a JSON
content type with an empty body.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from streamgauge.core.errors import InvalidInputError, UnsupportedError
from streamgauge.server.api.auth import authenticate, check_scope, rated
from streamgauge.server.api.decode import decode_body, decode_query, read_body
from streamgauge.server.api.errors import MethodNotAllowedError, NoRouteError, error_response
from streamgauge.server.api.operation import Call, Operation
from streamgauge.server.api.request_ids import HEADER, request_id
from streamgauge.server.parts import Parts

_ENCODE: Final = msgspec.json.Encoder(decimal_format="string").encode


class RawPathRoute(Route):
    """A route that matches the path as it was sent, and decodes parameters afterwards."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match against ``raw_path`` where the server gives one."""
        raw: bytes | None = scope.get("raw_path")
        if scope["type"] != "http" or raw is None:
            return super().matches(scope)
        path = raw.partition(b"?")[0].decode("latin-1")
        match, child = super().matches({**scope, "path": path})
        if match is Match.NONE:
            return match, child
        decoded = {name: unquote(text) for name, text in child["path_params"].items()}
        return match, {**child, "path_params": decoded}


class Endpoint:
    """Everything at one path: method -> operation."""

    def __init__(self, parts: Parts, operations: Iterable[Operation]) -> None:
        self._parts = parts
        self._by_method = {operation.method: operation for operation in operations}
        if "GET" in self._by_method:
            self._by_method.setdefault("HEAD", self._by_method["GET"])
        self._allow = ", ".join(sorted({*self._by_method, "OPTIONS"}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        id = request_id(scope)
        try:
            response = await self._answer(request, id)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the edge: every failure becomes an answer
            response = error_response(error, id)
        await rated(response, scope)(scope, receive, send)

    async def _answer(self, request: Request, id: str) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"allow": self._allow})
        operation = self._by_method.get(request.method)
        if operation is None:
            raise MethodNotAllowedError(request.method, self._allow)
        caller = await authenticate(request.scope, self._parts)
        check_scope(caller, operation.needs)
        call = Call(
            caller=caller,
            path=_checked(request.path_params),
            query=operation.query and decode_query(request, operation.query),
            body=operation.body and decode_body(await read_body(request), operation.body),
            request_id=id,
            parts=self._parts,
        )
        return _encoded(await operation.handler(call), operation.status, id)


def routes(parts: Parts, operations: Iterable[Operation]) -> list[BaseRoute]:
    """Return one route per path; longer literal paths come first, as the tables have them."""
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    return [RawPathRoute(path, Endpoint(parts, group)) for path, group in by_path.items()]


def refusing_routes(paths: Iterable[str]) -> list[BaseRoute]:
    """Return a route per path that says that it is not here yet, to any method but OPTIONS."""
    return [RawPathRoute(path, _Unsupported()) for path in paths]


async def not_found(request: Request, _error: Exception) -> Response:
    """Answer a path that nothing is at; a Starlette exception handler for 404."""
    error = NoRouteError(f"nothing is at {request.method} {request.url.path[:200]}")
    return error_response(error, request_id(request.scope))


async def other_method(request: Request, error: Exception) -> Response:
    """Answer a method that a path has not; a Starlette exception handler for 405."""
    assert isinstance(error, HTTPException), "Starlette raises no other with a status"
    methods = (error.headers or {}).get("Allow", "").split(", ")
    allow = ", ".join(sorted({*methods, "OPTIONS"}))
    if request.method == "OPTIONS":
        return Response(status_code=204, headers={"allow": allow})
    return error_response(MethodNotAllowedError(request.method, allow), request_id(request.scope))


async def failed(request: Request, error: Exception) -> Response:
    """Answer what no handler foresaw, with nothing of ours in it."""
    return error_response(error, request_id(request.scope))


class _Unsupported:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "OPTIONS":
            await Response(status_code=204)(scope, receive, send)
            return
        asked = f"{scope['method']} {scope['path'][:200]}"
        error = UnsupportedError(f"{asked} of Dodo's API is not supported here yet")
        await error_response(error, request_id(scope))(scope, receive, send)


def _checked(params: dict[str, str]) -> dict[str, str]:
    for name, text in params.items():
        if "\x00" in text or "\ufffd" in text:
            raise InvalidInputError(name, text, "be valid UTF-8 without NUL")
    return params


def _encoded(answer: object, status: int, id: str) -> Response:
    headers = {HEADER: id}
    if answer is None:
        return Response(status_code=status, headers=headers)
    return Response(_ENCODE(answer), status, headers, media_type="application/json")
