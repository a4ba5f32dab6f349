"""Who asks: a bearer key, or the operator of this machine through the unix socket."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from streamgauge.core.errors import ForbiddenError, UnauthorizedError
from streamgauge.core.events import check_mode
from streamgauge.core.keys import KEY_SCOPES, KeyScope
from streamgauge.server.api.operation import Caller
from streamgauge.server.catalog import Catalog

OPERATOR_STATE: Final = "streamgauge.operator"
"""Set in ``scope["state"]`` for requests of the unix socket, by the server alone."""

OPERATOR_KEY_ID: Final = "operator"
MODE_HEADER: Final = "x-streamgauge-mode"
"""The operator has no key, so the mode is named here."""

_SCHEME: Final = "bearer "


def authenticate(scope: Scope, catalog: Catalog) -> Caller:
    """Return who asks.

    Raises:
        UnauthorizedError: No key, a wrong key or a revoked key.
        InvalidInputError: The operator names no mode, or an unknown one.
    """
    headers = Headers(scope=scope)
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
    key = catalog.keys.authenticate(given[len(_SCHEME) :].strip())
    if key is None:
        raise UnauthorizedError("this key is unknown or revoked")
    return Caller(
        business_id=catalog.business_id,
        mode=key.mode,
        key_id=key.id,
        scope=key.scope,
        strict_timestamps=key.strict_timestamps,
    )


def check_scope(caller: Caller, needs: KeyScope) -> None:
    """Refuse a key whose scope is below what a request needs.

    Raises:
        ForbiddenError: It is.
    """
    if KEY_SCOPES.index(caller.scope) < KEY_SCOPES.index(needs):
        raise ForbiddenError(f"key {caller.key_id} has scope {caller.scope}; this needs {needs}")
