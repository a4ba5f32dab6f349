"""Windows of time: UTC, half-open, on whole minutes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from streamgauge.core.errors import InvalidInputError


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """From ``start``, which is in it, to ``end``, which is not; both UTC and on the minute."""

    start: datetime
    end: datetime

    def holds(self, at: datetime) -> bool:
        """Return whether ``at`` is in the window."""
        return self.start <= at < self.end

    def minutes(self) -> int:
        """Return the length in minutes."""
        return (self.end - self.start) // timedelta(minutes=1)


def in_utc(at: datetime, *, field: str = "time") -> datetime:
    """Return ``at`` in UTC; a naive datetime is taken as UTC.

    Raises:
        InvalidInputError: Its offset leads out of the calendar.
    """
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise InvalidInputError(field, at.isoformat(), "have a date in UTC") from None


def floor_minute(at: datetime) -> datetime:
    """Return the UTC minute that holds ``at``."""
    return in_utc(at).replace(second=0, microsecond=0)


def check_bound(at: datetime, *, field: str) -> datetime:
    """Return ``at`` in UTC if it may bound a window.

    Raises:
        InvalidInputError: It is off the minute; usage is kept by the minute.
    """
    bound = in_utc(at, field=field)
    if bound != floor_minute(bound):
        raise InvalidInputError(field, bound.isoformat(), "lie on a whole UTC minute")
    return bound


def check_window(start: datetime, end: datetime) -> Window:
    """Return the window between two bounds.

    Raises:
        InvalidInputError: A bound is off the minute, or nothing lies between them.
    """
    window = Window(start=check_bound(start, field="start"), end=check_bound(end, field="end"))
    if window.start >= window.end:
        raise InvalidInputError("end", window.end.isoformat(), "be after start")
    return window


def without(window: Window, others: Iterable[Window]) -> tuple[Window, ...]:
    """Return what is left of ``window``, in order, where none of ``others`` is."""
    left, start = list[Window](), window.start
    for other in sorted(others, key=lambda each: each.start):
        if start < min(other.start, window.end):
            left.append(Window(start=start, end=min(other.start, window.end)))
        start = max(start, other.end)
    if start < window.end:
        left.append(Window(start=start, end=window.end))
    return tuple(left)
