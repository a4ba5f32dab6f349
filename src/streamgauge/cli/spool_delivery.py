"""Delivery of what dead processes left in spools, from the command line."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from streamgauge.cli.output import hint, quantity
from streamgauge.cli.progress import waiting
from streamgauge.core.clock import Clock
from streamgauge.core.errors import UnauthorizedError, UnavailableError
from streamgauge.sdk.drain import drain_spools
from streamgauge.sdk.stats import Adopted
from streamgauge.sinks.base import AuthError, Delivered, Outgoing
from streamgauge.sinks.dodo import DodoSink

# Whoever watches a command would rather be told and ask again than wait longer than this.
_WAIT_S_MAX: Final = 20.0


def deliver(
    path: Path, *, mode: str, url: str | None, account: str, late: str | None, clock: Clock
) -> Adopted:
    """Deliver the spools of one destination whose processes are gone.

    Raises:
        ConfigurationError: There is no key, or no such destination.
        UnauthorizedError: The key is refused; everything is kept.
        UnavailableError: Something still waits; it is kept.
    """
    # Its warnings are the error this command ends with; without a handler they would show twice.
    logging.getLogger("streamgauge").addHandler(logging.NullHandler())
    if not path.exists():
        return Adopted()
    sink = _KeySink(DodoSink(environment=mode, base_url=url, account=account, late=late))
    try:
        with waiting(f"Delivering to {sink.destination}") as say:

            def on_progress(found: Adopted) -> None:
                whole = found.acknowledged_bytes + found.spooled_bytes
                say(
                    f"Delivered {quantity(found.acknowledged_bytes, 'byte')} of "
                    f"{quantity(whole, 'byte')} to {sink.destination}"
                )

            found, trouble = drain_spools(
                path, sink, environment=mode, on_progress=on_progress, clock=clock, wait=sink.wait
            )
    finally:
        sink.close()
    if found.spooled_bytes:
        raise UnavailableError(
            f"{quantity(found.spooled_bytes, 'byte')} still wait, kept on disk: {trouble}"
        )
    if trouble:
        hint(f"Note: {trouble}.")
    return found


class _KeySink:
    """A sink that remembers a refused key: who watches gives another one sooner than time does."""

    def __init__(self, sink: DodoSink) -> None:
        self.destination = sink.destination
        self.asks_first = sink.asks_first
        self._sink = sink
        self._refused: AuthError | None = None

    def deliver(self, batch: Sequence[Outgoing]) -> Delivered:
        """Deliver as the sink does."""
        try:
            return self._sink.deliver(batch)
        except AuthError as error:
            self._refused = error
            raise

    def close(self) -> None:
        """Close the sink."""
        self._sink.close()

    def wait(self, seconds: float) -> None:
        """Wait for the next try, unless that is of no use.

        Raises:
            UnauthorizedError: The key is refused.
            UnavailableError: The next try is too far off.
        """
        if self._refused is not None:
            raise UnauthorizedError(
                f"{self._refused} (the key in DODO_PAYMENTS_API_KEY); the events are kept on disk"
            )
        if seconds > _WAIT_S_MAX:
            raise UnavailableError(
                "the destination does not take the events now; they are kept on disk, "
                f"try again in {seconds:.0f} s"
            )
        time.sleep(seconds)
