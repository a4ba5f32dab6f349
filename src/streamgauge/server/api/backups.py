"""``/v1/backups``: states held for ``streamgauge backup`` to copy; for the operator alone.

The description of the API, which is for keys, leaves them out.
"""

from __future__ import annotations

from streamgauge.core.errors import ForbiddenError
from streamgauge.server.api.auth import OPERATOR_KEY_ID
from streamgauge.server.api.operation import Call, Operation
from streamgauge.server.backup.holding import Held


async def hold(call: Call) -> Held:
    """Hold the state of this instant, by hard links within the data directory."""
    _check_operator(call)
    return await call.parts.holder.hold()


async def release(call: Call) -> None:
    """Let go of a state."""
    _check_operator(call)
    await call.run(call.parts.holder.release, call.path["id"])


def _check_operator(call: Call) -> None:
    """Refuse keys: what is held is of all modes, and takes the disk until it is let go.

    Raises:
        ForbiddenError: A key asks.
    """
    if call.caller.key_id != OPERATOR_KEY_ID:
        raise ForbiddenError(
            f"key {call.caller.key_id} may not do this; streamgauge backup does, as the operator"
        )


OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/backups",
        summary="Hold a state for a backup; the operator alone",
        tag="backups",
        handler=hold,
        response=Held,
        status=201,
        needs="admin",
    ),
    Operation(
        method="DELETE",
        path="/v1/backups/{id}",
        summary="Let go of a held state; the operator alone",
        tag="backups",
        handler=release,
        status=204,
        needs="admin",
    ),
)
