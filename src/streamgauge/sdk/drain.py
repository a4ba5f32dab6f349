"""Spools of processes that are gone, delivered by hand, as an ingestion that adopts them would."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from streamgauge.core.clock import Clock, SystemClock
from streamgauge.core.disk import OsDirectory
from streamgauge.core.limits import BATCH_EVENTS_MAX
from streamgauge.sdk.adoption import Adopter
from streamgauge.sdk.delivery import Deliverer
from streamgauge.sdk.identity import Destination
from streamgauge.sdk.notices import Notices
from streamgauge.sdk.stats import Adopted
from streamgauge.sinks.base import Sink

FAILURES_MAX = 5


def drain_spools(
    spool_dir: Path,
    sink: Sink,
    *,
    environment: str,
    on_progress: Callable[[Adopted], None],
    clock: Clock | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> tuple[Adopted, str | None]:
    """Deliver every spool of the sink's destination whose process is gone.

    Args:
        spool_dir: Where spools are.
        sink: Takes the events.
        environment: ``test_mode`` or ``live_mode``.
        on_progress: Told after every batch.
        clock: Tests hand in their own.
        wait: Called with the seconds until the next try.

    Returns:
        What was found and delivered, and the latest trouble, if any.

    Raises:
        ConfigurationError: The directory is a link, another user's, or open to others.
        OSError: It cannot be read.
    """
    clock = clock or SystemClock()
    notices = Notices(clock)
    destination = Destination(address=sink.destination, mode=environment)
    adopter = Adopter(OsDirectory(spool_dir), "", destination, clock=clock, notices=notices)
    deliverer = Deliverer(sink, clock=clock, notices=notices, batch_events_max=BATCH_EVENTS_MAX)
    adopter.look()
    failures = 0
    while adopter.spools and failures < FAILURES_MAX:
        wait_s = deliverer.step(adopter.spools[0])
        failures = 0 if wait_s == 0.0 else failures + 1
        if wait_s and failures < FAILURES_MAX:
            wait(wait_s)
        adopter.dismiss_idle()
        if adopter.more and not adopter.spools:
            adopter.look()
        on_progress(adopter.adopted())
    adopter.close()
    return adopter.adopted(), notices.last_error
