"""``/v1/retention``: what is archived of all modes; for the operator alone.

The description of the API, which is for keys, leaves it out.
"""

from __future__ import annotations

from streamgauge.core.errors import ForbiddenError
from streamgauge.server.api.auth import OPERATOR_KEY_ID
from streamgauge.server.api.operation import Call, Operation
from streamgauge.server.ingest.retention import RetentionState


async def show(call: Call) -> RetentionState:
    """Return what retention says about itself."""
    if call.caller.key_id != OPERATOR_KEY_ID:
        raise ForbiddenError(
            f"key {call.caller.key_id} may not do this; streamgauge retention does, as the operator"
        )
    return await call.run(call.parts.retention.state)


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/retention",
        summary="Show what is archived; the operator alone",
        tag="retention",
        handler=show,
        response=RetentionState,
        needs="admin",
    ),
)
