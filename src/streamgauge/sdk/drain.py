"""Spools of processes that are gone, delivered by hand, as an ingestion that adopts them would."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from streamgauge.core.clock import Clock, SystemClock
from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import LockedError
from streamgauge.core.limits import BATCH_EVENTS_MAX
from streamgauge.sdk.dispatch import Dispatch
from streamgauge.sdk.election import read_term, role_name
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
        LockedError: A live process delivers for this destination.
        OSError: The directory cannot be read.
    """
    clock = clock or SystemClock()
    notices = Notices(clock)
    root = OsDirectory(spool_dir)
    destination = Destination(address=sink.destination, mode=environment)
    dispatch = Dispatch(
        sink,
        root,
        None,
        destination,
        clock=clock,
        notices=notices,
        batch_events_max=BATCH_EVENTS_MAX,
    )
    dispatch.look()
    if not dispatch.election.is_ours:
        term = read_term(root, role_name(destination))
        process = f"process {term.pid}" if term is not None else "another process"
        raise LockedError(f"{process} delivers for this destination, also what dead ones left")
    adopter = dispatch.adopter
    failures = 0
    while adopter.spools and failures < FAILURES_MAX:
        wait_s = dispatch.deliver()
        failures = 0 if wait_s == 0.0 else failures + 1
        if wait_s and failures < FAILURES_MAX:
            wait(wait_s)
        if adopter.more and not adopter.spools:
            dispatch.look()
        on_progress(adopter.adopted())
    dispatch.close()
    dispatch.resign()
    return adopter.adopted(), notices.last_error
