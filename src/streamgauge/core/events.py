"""The usage event: what is billed, in Dodo Payments' shape, and its rules."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from streamgauge.core import metadata
from streamgauge.core.clock import iso
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.limits import TEXT_ID_CHARS_MAX

BYTES_KEY: Final = "bytes"
"""The metadata key of the measured quantity, as the Stream Blueprint has it."""

_ENCODE: Final = msgspec.json.Encoder().encode


class UsageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One usage event.

    Attributes:
        event_id: Unique in a business and mode, for ever.
        customer_id: Who pays.
        event_name: What a meter matches, exactly and case-sensitively.
        timestamp: When it was used; aware.
        metadata: Canonical JSON text by key (see ``core.metadata``).
    """

    event_id: str
    customer_id: str
    event_name: str
    timestamp: datetime
    metadata: dict[str, str]


MODES: Final = ("test_mode", "live_mode")


def check_mode(value: object, *, field: str = "environment") -> str:
    """Return ``value`` if it is ``test_mode`` or ``live_mode``.

    Raises:
        InvalidInputError: It is neither.
    """
    if value not in MODES:
        raise InvalidInputError(field, value, "be test_mode or live_mode")
    assert isinstance(value, str)
    return str.__str__(value)


def check_text_id(value: object, *, field: str) -> str:
    """Return ``value`` if it may be an event id, a customer id or an event name.

    Raises:
        InvalidInputError: Not a text of 1 to 255 printable characters that is not blank.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= TEXT_ID_CHARS_MAX:
        raise InvalidInputError(field, value, f"be a text of 1 to {TEXT_ID_CHARS_MAX} characters")
    if not value.isprintable() or value.isspace():
        raise InvalidInputError(field, value, "be printable and not blank")
    # Types that derive from str, such as markupsafe's, cannot be encoded.
    return value if type(value) is str else str.__str__(value)


def encode_event(event: UsageEvent) -> bytes:
    """Return ``event`` as one JSON object, as ``POST /events/ingest`` takes it."""
    head = _ENCODE(
        {
            "event_id": event.event_id,
            "customer_id": event.customer_id,
            "event_name": event.event_name,
            "timestamp": iso(event.timestamp),
        }
    )
    return b'%s,"metadata":%s}' % (head[:-1], metadata.encode(event.metadata).encode())
