"""What the deliverer sees of a spool, whoever's it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from streamgauge.sdk.records import SpooledEvent
from streamgauge.sinks.base import Verdict


class Queue(Protocol):
    """The waiting events of one spool."""

    @property
    def name(self) -> str:
        """Return the writer id of the spool."""
        ...

    @property
    def head_ns(self) -> int:
        """Return about when the oldest waiting event was spooled; 0: not known."""
        ...

    def batch(self, events_max: int) -> list[SpooledEvent]:
        """Return the oldest events that are ready for the sink."""
        ...

    def settle(self, events: Sequence[SpooledEvent], verdicts: Mapping[str, Verdict]) -> int:
        """Note that the sink has answered; return how many segments of dead letters had to go."""
        ...

    def trim(self) -> None:
        """Put on disk what was settled, and remove what is needless."""
        ...


class Parcel(msgspec.Struct, frozen=True, gc=False):
    """A waiting event and where it waits."""

    queue: Queue
    event: SpooledEvent
