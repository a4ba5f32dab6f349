"""Who asks: a bearer key, or the operator of this machine through the unix socket."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from streamgauge.core.errors import ForbiddenError, UnauthorizedError
from streamgauge.core.events import check_mode
from streamgauge.core.keys import KEY_SCOPES, KeyScope
from streamgauge.server.api.operation import Caller
from streamgauge.server.parts import Parts

OPERATOR_STATE: Final = "streamgauge.operator"
"""Set in ``scope["state"]`` for requests of the unix socket, by the server alone."""

OPERATOR_KEY_ID: Final = "operator"
MODE_HEADER: Final = "x-streamgauge-mode"
"""The operator has no key, so the mode is named here."""

ALLOWANCE_STATE: Final = "streamgauge.allowance"
"""In ``scope["state"]`` after ``authenticate``, where requests are limited."""

_SCHEME: Final = "bearer "


async def authenticate(scope: Scope, parts: Parts) -> Caller:
    """Return who asks, and count the request; what is left to its key is put into ``scope``.

    Raises:
        UnauthorizedError: No key, a wrong key or a revoked key.
        TooManyRequestsError: The key has made the requests of a window.
        InvalidInputError: The operator names no mode, or an unknown one.
        UnavailableError: The catalog does not say whose key it is.
    """
    headers, catalog = Headers(scope=scope), parts.catalog
    if scope.get("state", {}).get(OPERATOR_STATE) is True:
        return Caller(
            business_id=catalog.business_id,
            mode=check_mode(headers.get(MODE_HEADER, "test_mode"), field=MODE_HEADER),
            key_id=OPERATOR_KEY_ID,
            scope="admin",
        )
    given = headers.get("authorization", "")
    if not given.lower().startswith(_SCHEME):
        raise UnauthorizedError("a key is needed: Authorization: Bearer sg_...")
    key = await parts.key(given[len(_SCHEME) :].strip())
    if key is None:
        raise UnauthorizedError("this key is unknown or revoked")
    if (allowance := parts.rates.take(key.id)) is not None:
        scope.setdefault("state", {})[ALLOWANCE_STATE] = allowance
    return Caller(
        business_id=catalog.business_id,
        mode=key.mode,
        key_id=key.id,
        scope=key.scope,
        strict_timestamps=key.strict_timestamps,
    )


def rated(response: Response, scope: Scope) -> Response:
    """Return ``response`` with what is left to the key that asked."""
    allowance = scope.get("state", {}).get(ALLOWANCE_STATE)
    if allowance is not None:
        response.headers.update(allowance.headers())
    return response


def check_scope(caller: Caller, needs: KeyScope) -> None:
    """Refuse a key whose scope is below what a request needs.

    Raises:
        ForbiddenError: It is.
    """
    if KEY_SCOPES.index(caller.scope) < KEY_SCOPES.index(needs):
        raise ForbiddenError(f"key {caller.key_id} has scope {caller.scope}; this needs {needs}")
