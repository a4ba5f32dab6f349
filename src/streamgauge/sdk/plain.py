"""Plain calls: one event each, checked before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from streamgauge.core.clock import NS_PER_S, to_ns
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.events import check_text_id
from streamgauge.core.limits import EPOCH_EARLIEST_S, FUTURE_S_MAX, QUANTITY_BYTES_MAX
from streamgauge.sdk.groups import checked_group
from streamgauge.sdk.records import Draft


def checked_draft(
    event_name: str,
    *,
    customer_id: object,
    quantity: object,
    metadata: Mapping[str, object] | None,
    event_id: object,
    timestamp: object,
    now_ns: int,
) -> Draft:
    """Return the event of a plain call.

    Raises:
        InvalidInputError: A value breaks a rule.
    """
    return Draft(
        group=checked_group(event_name, customer_id, metadata, measured=quantity is not None),
        timestamp_ns=now_ns if timestamp is None else _checked_timestamp_ns(timestamp, now_ns),
        quantity=None if quantity is None else checked_quantity(quantity),
        event_id=None if event_id is None else check_text_id(event_id, field="event_id"),
    )


def checked_quantity(value: object) -> int:
    """Return ``value`` if it is a number of bytes.

    Raises:
        InvalidInputError: It is negative, fractional, no number, a boolean or a text.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError("bytes", value, "be a whole number, of type int")
    if not 0 <= value <= QUANTITY_BYTES_MAX:
        raise InvalidInputError("bytes", shown_integer(value), f"be from 0 to {QUANTITY_BYTES_MAX}")
    return int(value)


def shown_integer(value: int) -> object:
    """Return what a message shows of ``value``: decimal texts of huge integers are slow to make."""
    return value if abs(value) < 2**64 else f"an integer of {value.bit_length()} bits"


def _checked_timestamp_ns(value: object, now_ns: int) -> int:
    if not isinstance(value, datetime):
        raise InvalidInputError("timestamp", value, "be a datetime; a naive one is UTC")
    at_ns = to_ns(value)
    if at_ns > now_ns + FUTURE_S_MAX * NS_PER_S:
        raise InvalidInputError("timestamp", value, f"be at most {FUTURE_S_MAX} seconds ahead")
    if at_ns < EPOCH_EARLIEST_S * NS_PER_S:
        raise InvalidInputError("timestamp", value, "not be before 2015")
    return at_ns
