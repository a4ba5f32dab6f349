"""The way of events to the store, as those who answer requests see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

from streamgauge.core.limits import CAUGHT_UP_WAIT_S
from streamgauge.server.ingest.accept import Accepted
from streamgauge.server.ingest.decode import Scope
from streamgauge.server.metering.forgetting import Forget
from streamgauge.server.metering.meter import Meter

T = TypeVar("T")


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the log: what was acknowledged before it is before it, all else behind.

    Attributes:
        segments: Those of the log up to the place, sealed, oldest first.
        inserted: The newest segment that is in the store.
    """

    segments: list[int]
    inserted: int

    @property
    def newest(self) -> int:
        """Return the newest segment before the place, 0 for none."""
        return max(self.inserted, *self.segments, 0)


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    """Where a forgotten customer's events were gone through.

    Attributes:
        position: The log position up to which they are in the store, and nowhere else as they were
            but for ``by_hand``.
        by_hand: What could not be gone through, and holds them yet.
    """

    position: int
    by_hand: list[str]


class PipelineState(msgspec.Struct, frozen=True, kw_only=True):
    """What the pipeline says about itself.

    Attributes:
        trouble: What does not work now; empty when all does.
        damage: What was found broken in log, ids or store.
        counts: Events ``stored`` and ``duplicate`` since the start.
        refused: Refused requests since the start, by error code.
        set_aside: Events that the store will never take, in quarantine.
        inserted_rows: Rows inserted since the start.
        queued_bytes: Accepted, not on disk yet, so not answered yet.
        lag_s: How long the oldest event on disk waits for the store.
        log_bytes: Size of the log, with segments kept after their insert.
        known_runs: Intervals of spool ids that are remembered.
        known_foreign: Other ids that are remembered.
    """

    trouble: list[str] = []
    damage: list[str] = []
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    set_aside: int = 0
    inserted_rows: int = 0
    queued_bytes: int = 0
    lag_s: float = 0.0
    log_bytes: int = 0
    known_runs: int = 0
    known_foreign: int = 0


class EventPath(Protocol):
    """The way of events, as those who answer requests see it."""

    refused: Counter[str]

    def recover(self, meters: list[Meter]) -> int:
        """Bring store, rollups and known ids up to the log; return the rows that were replayed."""
        ...

    def businesses(self) -> set[str]:
        """Return whose events are known."""
        ...

    def start(self) -> None:
        """Start the threads, on the running loop."""
        ...

    def stop(self, timeout_s: float) -> bool:
        """Settle what was sent, stop the threads, and return whether they ended in time."""
        ...

    def now(self) -> datetime:
        """Return the server's time, aware."""
        ...

    async def ingest(
        self, body: bytes, scope: Scope, *, age_s_max: int | None = None
    ) -> tuple[list[str], Accepted]:
        """Return the ids of a body and how they ended, once all are durable."""
        ...

    async def caught_up(self, timeout_s: float = CAUGHT_UP_WAIT_S) -> int:
        """Wait until everything accepted before is in the store; return a cut that has it."""
        ...

    async def ensure_rollup(self, meter: Meter) -> None:
        """Return when events are rolled up for ``meter`` as they come; twice is once."""
        ...

    async def between_inserts(self, do: Callable[[], T]) -> T:
        """Return ``do()``, called while the store holds whole segments and nothing is inserted.

        Raises:
            UnsupportedError: Not where others write to the log too.
        """
        ...

    async def settled(self) -> int:
        """Return the log position up to which the log no longer has anything to insert again.

        Raises:
            UnsupportedError: Not where another process writes.
        """
        ...

    def cut(self) -> Cut:
        """Return the place of this instant; only within ``between_inserts``."""
        ...

    async def forget(self, rule: Forget) -> Swept:
        """Take out of log and quarantine what ``rule`` does not keep of events accepted before."""
        ...

    def state(self) -> PipelineState:
        """Return what the path says about itself."""
        ...
