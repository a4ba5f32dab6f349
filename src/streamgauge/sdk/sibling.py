"""The spool of a live process, delivered by another: its journal is only read here.

Its process appends, says how far it may be delivered, and removes what the checkpoint has made
needless; the checkpoint and the dead letters are written here, by the holder of the role alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamgauge.core.clock import Clock
from streamgauge.core.files import Directory
from streamgauge.core.journal import Position
from streamgauge.sdk.outbox import Outbox
from streamgauge.sdk.records import SpooledEvent
from streamgauge.sdk.released import read_released
from streamgauge.sinks.base import Verdict


class Sibling:
    """The way out of another live process's spool; used by one thread at a time.

    Args:
        directory: The spool's.
        name: Its writer id.
        clock: Says when events were refused.

    Raises:
        FileNotFoundError: It is gone, or of a version that delivers its own.
        ConfigurationError: A newer version wrote its checkpoint.
        CorruptError: It cannot be read.
    """

    def __init__(self, directory: Directory, name: str, *, clock: Clock) -> None:
        self._directory = directory
        self._name = name
        self._emptied_at: Position | None = None
        read_released(directory)
        self._outbox = Outbox(directory, clock=clock)
        self.head_ns = 0
        self.is_gone = False
        """Whether its process ended with nothing waiting."""

    @property
    def name(self) -> str:
        """Return the writer id of the spool."""
        return self._name

    def batch(self, events_max: int) -> list[SpooledEvent]:
        """Return the oldest events that its process has released.

        Raises:
            OSError: It cannot be read.
        """
        try:
            until = read_released(self._directory)
        except FileNotFoundError:
            self.is_gone = True
            return []
        if until is None or until == self._emptied_at:
            return []
        batch = self._outbox.batch(until, events_max)
        if batch:
            self.head_ns = batch[0].spooled_at_ns
        else:
            self._emptied_at = until
        return batch

    def settle(self, events: Sequence[SpooledEvent], verdicts: Mapping[str, Verdict]) -> int:
        """Note that the sink has answered for the oldest waiting ``events``."""
        removed = self._outbox.settle(events, verdicts)
        self.head_ns = events[-1].spooled_at_ns
        return removed

    def trim(self) -> None:
        """Tell its process, durably, how far it was delivered; that removes what is needless.

        Raises:
            OSError: The disk refuses; the next call tries again.
        """
        self._outbox.write()

    def close(self) -> None:
        """Release the files."""
        self._outbox.close()
