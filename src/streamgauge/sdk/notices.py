"""What the host is told: one log line a minute per cause, and the latest trouble in ``stats``."""

from __future__ import annotations

import logging
import threading

from streamgauge.core.clock import NS_PER_S, Clock
from streamgauge.core.limits import LOG_INTERVAL_S


class Notices:
    """Troubles, counted and told seldom.

    Args:
        clock: Says when a cause may be told again.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logger = logging.getLogger("streamgauge")
        self._lock = threading.RLock()
        self._told_at_ns: dict[str, int] = {}
        self._untold: dict[str, int] = {}
        self.last_error: str | None = None

    def tell(self, cause: str, message: str) -> None:
        """Keep ``message`` as the latest trouble, and log it unless its cause was told just now.

        Args:
            cause: One of a few fixed words.
            message: What happened, in words for people; never a key.
        """
        self.last_error = message
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            told_at_ns = self._told_at_ns.get(cause)
            if told_at_ns is not None and now_ns - told_at_ns < LOG_INTERVAL_S * NS_PER_S:
                self._untold[cause] = self._untold.get(cause, 0) + 1
                return
            self._told_at_ns[cause] = now_ns
            untold = self._untold.pop(cause, 0)
        more = f" (and {untold} more since the last line)" if untold else ""
        self._logger.warning("%s%s", message, more)
