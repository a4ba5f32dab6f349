"""How many requests a key may make in a second and in a minute, as Dodo counts them.

A window begins with its first request and is forgotten with its end. Each process counts its own.
"""

from __future__ import annotations

from typing import Final

import msgspec

from streamgauge.core.clock import NS_PER_S, Clock
from streamgauge.core.errors import StreamgaugeError
from streamgauge.core.limits import KEYS_CACHED_MAX

_WINDOWS_S: Final = (1, 60)


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What is left to a key after a request, in the window with least left.

    Attributes:
        limit: Requests of a whole window.
        remaining: Requests left in it.
        reset_s: Seconds to its end, rounded up, at least 1.
        reset_at_s: The same as seconds since 1970.
    """

    limit: int
    remaining: int
    reset_s: int
    reset_at_s: int

    def headers(self) -> dict[str, str]:
        """Return Dodo's headers; ``X-RateLimit-Reset`` is in seconds since 1970."""
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(self.reset_at_s),
        }


class TooManyRequestsError(StreamgaugeError):
    """A key has made the requests of a window; this one did not count.

    Attributes:
        allowance: Of the window that is used up.
        retry_after_s: Whole seconds until it is over.
    """

    code = "TOO_MANY_REQUESTS"

    def __init__(self, key_id: str, allowance: Allowance, window_s: int) -> None:
        super().__init__(f"key {key_id} has made {allowance.limit} requests within {window_s} s")
        self.allowance = allowance
        self.retry_after_s = allowance.reset_s


class Rates:
    """Counts the requests of every key; for one thread.

    Args:
        per_second: Requests of one key in a second; 0 counts none.
        per_minute: The same in a minute.
        clock: Where time comes from.
    """

    def __init__(self, *, per_second: int = 0, per_minute: int = 0, clock: Clock) -> None:
        self._limits = tuple(
            (limit, window_s)
            for limit, window_s in zip((per_second, per_minute), _WINDOWS_S, strict=True)
            if limit
        )
        self._clock = clock
        # Per key and window: when it ends, and how many requests it has had.
        self._used: dict[str, list[tuple[int, int]]] = {}

    def take(self, key_id: str) -> Allowance | None:
        """Count a request; return what is left, or None where nothing is limited.

        Raises:
            TooManyRequestsError: A window is used up.
        """
        if not self._limits:
            return None
        now_ns = self._clock.monotonic_ns()
        windows = self._used.get(key_id) or [(0, 0)] * len(self._limits)
        after: list[tuple[int, int]] = []
        left: list[Allowance] = []
        for (limit, window_s), (end_ns, used) in zip(self._limits, windows, strict=True):
            if end_ns <= now_ns:
                end_ns, used = now_ns + window_s * NS_PER_S, 0  # noqa: PLW2901 - a new window
            if used >= limit:
                raise TooManyRequestsError(key_id, self._allowance(limit, 0, end_ns), window_s)
            after.append((end_ns, used + 1))
            left.append(self._allowance(limit, limit - used - 1, end_ns))
        self._used[key_id] = after
        if len(self._used) > KEYS_CACHED_MAX:
            self._forget(now_ns)
        return min(left, key=lambda each: (each.remaining, -each.reset_s))

    def _allowance(self, limit: int, remaining: int, end_ns: int) -> Allowance:
        wait_ns = max(end_ns - self._clock.monotonic_ns(), 1)
        return Allowance(
            limit=limit,
            remaining=remaining,
            reset_s=-(-wait_ns // NS_PER_S),
            reset_at_s=-(-(self._clock.time_ns() + wait_ns) // NS_PER_S),
        )

    def _forget(self, now_ns: int) -> None:
        """Forget keys all of whose windows are over."""
        self._used = {
            key_id: windows
            for key_id, windows in self._used.items()
            if any(end_ns > now_ns for end_ns, _ in windows)
        }
