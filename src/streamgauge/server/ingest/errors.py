"""Why a batch is refused."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamgauge.core.errors import InvalidInputError, StreamgaugeError


class EventError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one event of a batch.

    Attributes:
        index: Which event, from 0.
        event_id: Its id, if it has one that is a text.
        field: The field inside the event, such as ``metadata.bytes``.
        reason: The value and the rule it breaks.
    """

    index: int
    event_id: str | None
    field: str
    reason: str


class MalformedBodyError(StreamgaugeError):
    """The body is no JSON, or no object with a list ``events``."""

    code = "INVALID_REQUEST_BODY"


class UnsupportedEncodingError(StreamgaugeError):
    """The body is compressed in a way we do not read."""

    code = "INVALID_REQUEST_BODY"


class BatchRefusedError(InvalidInputError):
    """Events of a batch break rules; nothing of the batch was kept.

    Attributes:
        errors: One or more per bad event, in order.
    """

    def __init__(self, errors: Sequence[EventError]) -> None:
        first = errors[0]
        super().__init__(f"events[{first.index}].{first.field}", None, first.reason)
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        self.args = (f"events[{first.index}].{first.reason}{more}",)
        self.errors = tuple(errors)
