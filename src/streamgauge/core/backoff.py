"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Doubling waits with full jitter, so that many clients do not return at once.

    Args:
        first_s: Upper bound of the first wait, in seconds.
        longest_s: Upper bound of every wait, in seconds.
        jitter: Gives a number in [0, 1); tests hand in their own.
    """

    def __init__(
        self,
        first_s: float = 0.5,
        longest_s: float = 60.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._jitter = jitter
        self._bound_s = first_s

    def next_s(self) -> float:
        """Return the next wait in seconds: between half its bound and its bound."""
        wait_s = self._bound_s * (0.5 + 0.5 * self._jitter())
        self._bound_s = min(self._bound_s * 2, self._longest_s)
        return wait_s

    def reset(self) -> None:
        """Start again from the first wait, after a success."""
        self._bound_s = self._first_s
