"""The threads of an ingestion: one makes events and syncs them, one delivers them."""

from __future__ import annotations

import time
from collections.abc import Callable

from streamgauge.core.clock import NS_PER_S, Clock
from streamgauge.core.limits import FOLLOW_INTERVAL_S
from streamgauge.sdk.engine import Engine
from streamgauge.sdk.notices import Notices
from streamgauge.sdk.options import Options
from streamgauge.sdk.worker import Worker

_BOUNDARY_S_MIN = 0.01
_STOP_S = 1.0
_ARRIVAL_S = 0.005
_ARRIVAL_S_MAX = 0.1


class Runner:
    """An engine with its threads.

    Args:
        engine: What runs.
        options: How often.
        clock: Says when a window is over.
        notices: Told if a thread stumbles.
    """

    def __init__(self, engine: Engine, options: Options, clock: Clock, notices: Notices) -> None:
        self.engine = engine
        self._options = options
        self._clock = clock
        self.stopped = False
        self._flushes = 0
        self._spooling = Worker("spool", self._spool_step, notices)
        self._delivery = Worker("delivery", self._delivery_step, notices)

    def start(self) -> None:
        """Start both threads."""
        self._spooling.start()
        self._delivery.start()

    def flush(self, timeout_s: float) -> bool:
        """Return whether everything counted before the call was settled in time.

        Bytes on their way in streams that go on are not waited for.
        """
        deadline_s = time.monotonic() + timeout_s
        arrived = self._arrived(deadline_s)
        if self.engine.tick(cut_open=True):
            return self._settled(deadline_s) and arrived
        # What the disk holds can be delivered, and then has room for the rest.
        return (
            self._settled(deadline_s)
            and self.engine.tick(cut_open=True)
            and self._settled(deadline_s)
            and arrived
        )

    def close(self, timeout_s: float) -> bool:
        """Count no more, wait for the sink, and stop; return whether nothing is left.

        Args:
            timeout_s: How long to wait, at most half of it for bytes that are on their way to
                clients, and the rest for the sink; the threads get a second more each to end.
        """
        started_s = time.monotonic()
        deadline_s = started_s + timeout_s
        # A client that takes nothing more must not keep the rest from being delivered.
        self._arrived(started_s + timeout_s / 2)
        self.engine.stop_counting()
        self._settled(deadline_s)
        self.engine.dispatch.deliverer.stopped = True
        spooling_stopped = self._spooling.stop(_STOP_S)
        self.stopped = self._delivery.stop(_STOP_S) and spooling_stopped
        # A thread that is still at it keeps its spool, locked, until the process ends.
        if self.stopped:
            self.engine.close()
        return self.engine.settled()

    def _arrived(self, deadline_s: float) -> bool:
        """Wait for bytes of streams that have ended; return whether none is on its way."""
        wait_s = _ARRIVAL_S
        while self.engine.coalescer.on_the_way():
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _ARRIVAL_S_MAX)
        return True

    def _settled(self, deadline_s: float) -> bool:
        spool = self.engine.spool
        target = spool.number
        with spool.changed:
            self._flushes += 1
            try:
                self._delivery.wake()
                return spool.changed.wait_for(
                    lambda: spool.delivered >= target, max(deadline_s - time.monotonic(), 0.0)
                )
            finally:
                self._flushes -= 1

    def _spool_step(self) -> float:
        self.engine.tick()
        window_ns = self._options.window_s * NS_PER_S
        boundary_s = (window_ns - self._clock.time_ns() % window_ns) / NS_PER_S
        intervals = [self._options.sync_interval_s, max(boundary_s, _BOUNDARY_S_MIN)]
        if self._options.flush_interval_s is not None:
            intervals.append(self._options.flush_interval_s)
        return min(intervals)

    def _delivery_step(self) -> float:
        dispatch = self.engine.dispatch
        dispatch.look()
        while (wait_s := dispatch.deliver()) == 0.0 and not dispatch.deliverer.stopped:
            pass
        if wait_s is not None:
            return wait_s
        if dispatch.adopter.more:
            return 0.0
        if self._flushes and not dispatch.election.is_ours:
            return FOLLOW_INTERVAL_S
        return self._options.delivery_interval_s


async def in_thread(wait: Callable[[float], bool], timeout_s: float) -> bool:
    """Await what blocks, beside the event loop."""
    import asyncio  # noqa: PLC0415 - importing it costs as much as the rest of the SDK

    return await asyncio.to_thread(wait, timeout_s)
