"""Time, handed in; windows and minutes in UTC, as integers."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

NS_PER_S: Final = 1_000_000_000
MINUTE_NS: Final = 60 * NS_PER_S
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Clock(Protocol):
    """Where time comes from; tests hand in their own."""

    def time_ns(self) -> int:
        """Return nanoseconds since 1970-01-01 UTC; may jump."""
        ...

    def monotonic_ns(self) -> int:
        """Return nanoseconds since some instant; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def time_ns(self) -> int:
        """Return nanoseconds since 1970-01-01 UTC; may jump."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Return nanoseconds since some instant; never goes back."""
        return time.monotonic_ns()


def window_start_ns(at_ns: int, window_s: int) -> int:
    """Return the start of the UTC window of ``window_s`` seconds that holds ``at_ns``."""
    return at_ns - at_ns % (window_s * NS_PER_S)


def utc(at_ns: int) -> datetime:
    """Return ``at_ns`` as an aware datetime, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=at_ns // 1_000)


def to_ns(at: datetime) -> int:
    """Return an aware or naive (taken as UTC) datetime as nanoseconds since 1970, exactly."""
    aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND * 1_000


def iso(at: datetime) -> str:
    """Return an aware datetime as RFC 3339 text in UTC ending in ``Z``."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
