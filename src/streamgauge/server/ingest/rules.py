"""The shape of an event on the wire, and the rules that both passes over a batch go by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec

from streamgauge.core.clock import iso, utc
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.limits import (
    BATCH_EVENTS_MAX,
    EPOCH_EARLIEST_S,
    FUTURE_S_MAX,
    TEXT_ID_CHARS_MAX,
)
from streamgauge.server.ingest.errors import EventError, MalformedBodyError

EARLIEST: Final = utc(EPOCH_EARLIEST_S * 1_000_000_000)
_AHEAD_MAX: Final = timedelta(seconds=FUTURE_S_MAX)


_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_ID_CHARS_MAX)]


class WireEvent(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event as it is sent; once it is checked, also as it stands in the log.

    Attributes:
        timestamp: Once checked, aware, in UTC, and never None.
        metadata: As it was sent; once checked, canonical JSON text by key, and never None.
    """

    event_id: _Text
    customer_id: _Text
    event_name: _Text
    timestamp: datetime | None = None
    metadata: dict[str, msgspec.Raw] | None = None


def check_text(body: bytes) -> None:
    """Check that ``body`` is UTF-8.

    Raises:
        MalformedBodyError: It is not.
    """
    if body.isascii():
        return
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"the body is not UTF-8: {error.reason}") from None


def check_count(count: int) -> None:
    """Check how many events one request brings.

    Raises:
        InvalidInputError: None, or too many.
    """
    if not 1 <= count <= BATCH_EVENTS_MAX:
        raise InvalidInputError("events", count, f"be 1 to {BATCH_EVENTS_MAX} events")


def check_timestamp(at: datetime) -> datetime:
    """Return ``at`` in UTC, which a text without an offset already is.

    Raises:
        InvalidInputError: Before 2015, or after the calendar's end.
    """
    aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    if aware < EARLIEST:
        raise InvalidInputError("timestamp", at.isoformat(), f"not be before {iso(EARLIEST)}")
    try:
        return aware.astimezone(UTC)
    except OverflowError:
        raise InvalidInputError("timestamp", at.isoformat(), "have a date in UTC") from None


def earliest(now: datetime, age_s_max: int | None) -> datetime:
    """Return the earliest timestamp that is not too old for a new event."""
    return EARLIEST if age_s_max is None else now - timedelta(seconds=age_s_max)


def untimely_error(
    index: int, event_id: str, at: datetime, now: datetime, age_s_max: int | None
) -> EventError | None:
    """Return the fault of a timestamp that is too far from our clock, None if it is not."""
    if at - now > _AHEAD_MAX:
        rule = f"be at most {FUTURE_S_MAX} s ahead of the server's time, {iso(now)}"
    elif at < earliest(now, age_s_max):
        rule = f"be at most {age_s_max} s old with this key; the server's time is {iso(now)}"
    else:
        return None
    reason = str(InvalidInputError("timestamp", iso(at), rule))
    return EventError(index=index, event_id=event_id, field="timestamp", reason=reason)
