"""A clock that moves when it is told to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from streamgauge.core.clock import NS_PER_S, to_ns

_START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """A ``core.clock.Clock`` for tests; stands still until it is advanced.

    An ingestion with this clock ends the windows that are over at its next ``flush``.

    Args:
        at: What it shows first; naive is UTC.
    """

    def __init__(self, at: datetime = _START) -> None:
        self._time_ns = to_ns(at)
        self._monotonic_ns = 0

    def time_ns(self) -> int:
        """Return nanoseconds since 1970-01-01 UTC."""
        return self._time_ns

    def monotonic_ns(self) -> int:
        """Return nanoseconds since the clock was made."""
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        elapsed_ns = round(seconds * NS_PER_S)
        assert elapsed_ns >= 0, "time does not go back; set() moves the wall clock alone"
        self._time_ns += elapsed_ns
        self._monotonic_ns += elapsed_ns

    def set(self, at: datetime) -> None:
        """Set the wall clock, as an administrator does: monotonic time does not notice."""
        self._time_ns = to_ns(at)
