"""Which UTC window it is, and how wide: while the disk refuses events, none ends.

A window that ends needs an event, and a new slot for the next; without a disk for either they would
pile up in memory. So windows go on until the disk takes events again, at most to the end of the UTC
day: no byte changes its day by it, or comes earlier than a day late.
"""

from __future__ import annotations

from typing import Final

from streamgauge.core.clock import Clock, window_start_ns

_DAY_S: Final = 86_400


class Windows:
    """The windows of one process, whose clock may jump.

    Args:
        clock: Says what time it is.
        window_s: Length of a window in seconds, while the disk takes events.
    """

    def __init__(self, clock: Clock, window_s: int) -> None:
        self._clock = clock
        self._window_s = window_s
        self._start_ns: int | None = None
        self.are_wide = False

    def start_ns(self) -> int:
        """Return the start of the window of this moment."""
        start_ns, now_ns = self._start_ns, self._clock.time_ns()
        if self.are_wide and start_ns is not None and start_ns <= now_ns:
            day_ns = window_start_ns(now_ns, _DAY_S)
            if start_ns >= day_ns:
                return start_ns
        self._start_ns = window_start_ns(now_ns, self._window_s)
        return self._start_ns
