"""A thread that asks the kernel about long streams, just before each stretch of time ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from streamgauge.core.clock import NS_PER_S, Clock

# Traffic between a look and the end of its minute is billed in the next; a look takes 10 us.
_EARLY_NS: Final = NS_PER_S // 10
_STOP_S: Final = 2.0
_LOGGER: Final = logging.getLogger("streamgauge")


class Poll:
    """Calls ``look`` a moment before every multiple of ``interval_s`` in UTC.

    Args:
        look: What is called.
        interval_s: A divisor of 60, so that minutes end with a look.
        clock: Says when it is.
    """

    def __init__(self, look: Callable[[], None], interval_s: int, clock: Clock) -> None:
        self._look = look
        self._interval_ns = interval_s * NS_PER_S
        self._clock = clock
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start, if it has not."""
        if self._thread is None and not self._stopped.is_set():
            self._thread = threading.Thread(target=self._run, name="streamgauge-poll", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop; twice is once."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_STOP_S)

    def pause_s(self) -> float:
        """Return the seconds until the next look."""
        early_ns = self._clock.time_ns() + _EARLY_NS
        return (self._interval_ns - early_ns % self._interval_ns) / NS_PER_S

    def _run(self) -> None:
        while not self._stopped.wait(self.pause_s()):
            try:
                self._look()
            except Exception:
                _LOGGER.exception("streamgauge goes on measuring after a failure")
