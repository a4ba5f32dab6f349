"""The id of a request: in its answer, and in every line that is logged on its behalf."""

from __future__ import annotations

import re
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from streamgauge.core.ids import new_id

HEADER: Final = "x-request-id"
_STATE: Final = "streamgauge.request_id"
# What proxies and tracers send; nothing that a log or a terminal would have to escape.
_SANE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")


def request_id(scope: Scope) -> str:
    """Return the id of a request, the same each time.

    It is the client's own ``X-Request-Id`` if that has 1 to 128 letters, digits and ``._:/+=@-``,
    else a new one.
    """
    state = scope.setdefault("state", {})
    if _STATE not in state:
        given = Headers(scope=scope).get(HEADER, "")
        state[_STATE] = given if _SANE.fullmatch(given) else new_id("req")
    return str(state[_STATE])
