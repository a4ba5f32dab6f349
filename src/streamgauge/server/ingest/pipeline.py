"""The whole way of events, from a checked batch to the store, and what it says about itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from streamgauge.core.clock import Clock, SystemClock, utc
from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.core.limits import CAUGHT_UP_WAIT_S, RETAINED_SEGMENTS_MAX
from streamgauge.server.ingest import rows
from streamgauge.server.ingest.accept import Accepted, Acceptor
from streamgauge.server.ingest.decode import Scope, decode
from streamgauge.server.ingest.event_path import Cut, PipelineState, Swept
from streamgauge.server.ingest.inserter import Inserter
from streamgauge.server.ingest.keeper import Keeper
from streamgauge.server.ingest.log import IngestLog
from streamgauge.server.ingest.quarantine import Quarantine
from streamgauge.server.ingest.writer import Writer
from streamgauge.server.metering.forgetting import Forget
from streamgauge.server.metering.meter import Meter
from streamgauge.server.store import EventStore
from streamgauge.server.store.segments import log_position

T = TypeVar("T")


class Pipeline:
    """Accepts batches on one event loop and brings them to the store.

    Args:
        log: The ingest log.
        store: Where events end.
        keeper: Keeps the ids of all events.
        quarantine: Keeps events that the store will never take.
        accepts: Whether batches come from here; else others append to the log.
        clock: Where time comes from.
    """

    def __init__(
        self,
        log: IngestLog,
        store: EventStore,
        keeper: Keeper,
        quarantine: Quarantine,
        *,
        accepts: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self._log = log
        self._store = store
        self._clock = clock or SystemClock()
        self._keeper = keeper
        self._quarantine = quarantine
        self._inserter = Inserter(log, store, quarantine, lambda: keeper.covered)
        self._writer = Writer(log, store, self._inserter, clock=self._clock)
        self._acceptor = Acceptor(log, keeper, committed=self._writer.wake) if accepts else None
        self.refused: Counter[str] = Counter()

    def recover(self, meters: list[Meter]) -> int:
        """Bring store, rollups and known ids up to the log; return the rows that were replayed.

        Call it before ``start``, on any thread.

        Raises:
            ConfigurationError: Log and store do not belong together.
            UnavailableError: The store refuses.
        """
        self._check_log_fits_store()
        replayed = self._inserter.recover()
        self._writer.ensure_rollups(meters)
        self._recover_known()
        self._inserter.trim()
        return replayed

    def _recover_known(self) -> None:
        """Add the ids behind the snapshot; the store has every segment by now."""
        after = log_position(self._keeper.covered + 1, 0) - 1
        add_stored(self._keeper, self._store, after=after)
        add_foreign(self._keeper, rows.ids(self._quarantine.lines()))
        self._keeper.save(self._log.next_segment() - 1)

    def businesses(self) -> set[str]:
        """Return whose events are known."""
        return {scope.business_id for scope in self._keeper.known.scopes()}

    def start(self) -> None:
        """Start the threads, on the running loop."""
        self._keeper.start()
        self._writer.start()
        if self._acceptor is not None:
            self._acceptor.start()

    def now(self) -> datetime:
        """Return the server's time, aware."""
        return utc(self._clock.time_ns())

    async def ingest(
        self, body: bytes, scope: Scope, *, age_s_max: int | None = None
    ) -> tuple[list[str], Accepted]:
        """Return the ids of a body and how they ended, once all are on disk.

        Args:
            body: As it was sent.
            scope: Whose events.
            age_s_max: How old a new event may be; any age since 2015 if None.

        Raises:
            MalformedBodyError: No JSON, or not of the right shape.
            InvalidInputError: Events break rules.
            UnavailableError: The log is full or fails; the same body may be sent again.
        """
        if self._acceptor is None:
            raise UnavailableError("this process takes no events; others do")
        batch = decode(body, scope, self.now(), age_s_max)
        accepted = await self._acceptor.accept(scope, batch)
        return batch.event_ids, accepted

    async def caught_up(self, timeout_s: float = CAUGHT_UP_WAIT_S) -> int:
        """Wait until everything accepted before this call is in the store.

        Returns:
            A log position with that in the store; a cut for an invoice.

        Raises:
            UnavailableError: It is not within ``timeout_s``.
        """
        await self._writer.caught_up(timeout_s)
        return self._writer.position

    async def ensure_rollup(self, meter: Meter) -> None:
        """Return when events are rolled up for ``meter`` as they come; twice is once.

        What was stored before is brought by ``EventStore.fill_rollups``.

        Raises:
            UnavailableError: The store refuses; the next start makes up for it.
        """
        await self._writer.ensure_rollup(meter)

    async def between_inserts(self, do: Callable[[], T]) -> T:
        """Return ``do()``, called while the store holds whole segments and nothing is inserted.

        Raises:
            Exception: Whatever ``do`` raises.
        """
        return await self._writer.between_inserts(do)

    async def settled(self) -> int:
        """Return the log position up to which the log no longer has anything to insert again.

        The snapshot of the known ids has everything up to there, too.
        """
        return await self.between_inserts(self._settled)

    def _settled(self) -> int:
        behind = self._inserter.inserted + 1
        return log_position(min([behind, *self._log.sealed()]), 0) - 1

    def cut(self) -> Cut:
        """Return the place of this instant; only within ``between_inserts``.

        Raises:
            OSError: The disk refuses.
            UnavailableError: The store holds a part of a segment that it could not take whole.
        """
        self._log.seal()
        segments, inserted = self._log.sealed(), self._log.mark()
        if self._store.rows_of_segments(inserted + 1):
            raise UnavailableError(
                f"segment {inserted + 1} could not be inserted whole yet; see /readyz", 30
            )
        return Cut(segments=segments, inserted=inserted)

    def wake(self, *, hurried: bool = False) -> None:
        """Tell the writer, from any thread, that the log has grown, and that somebody waits."""
        self._writer.wake(hurried=hurried)

    async def forget(self, rule: Forget) -> Swept:
        """Take out of log and quarantine what ``rule`` does not keep of events accepted before.

        Raises:
            OSError: The disk refuses; the same call may be made again.
            UnavailableError: Not all of them are in the store yet; as above.
        """
        await self.caught_up()
        return await self.between_inserts(lambda: self._sweep(rule))

    def _sweep(self, rule: Forget) -> Swept:
        self._quarantine.rewrite(rule.row)
        by_hand = self._log.rewrite(self._inserter.inserted, rule.record)
        return Swept(position=self._writer.position, by_hand=by_hand)

    def state(self) -> PipelineState:
        """Return what the pipeline says about itself."""
        acceptor = self._acceptor
        runs, foreign = self._keeper.known.sizes()
        trouble = (acceptor and acceptor.trouble, self._writer.trouble, self._keeper.trouble)
        return PipelineState(
            trouble=[text for text in trouble if text],
            damage=[*self._log.damage(), *self._keeper.damage, *self._inserter.damage],
            set_aside=sum(each.rows for each in self._quarantine.held()),
            counts=acceptor.counts if acceptor else Counter(),
            refused=self.refused,
            inserted_rows=self._inserter.rows,
            queued_bytes=acceptor.queued_bytes if acceptor else 0,
            lag_s=self._writer.lag_s,
            log_bytes=self._log.size_bytes(),
            known_runs=runs,
            known_foreign=foreign,
        )

    def stop(self, timeout_s: float) -> bool:
        """Settle what was sent, stop the threads, and return whether they ended in time."""
        parts = (self._acceptor, self._writer, self._keeper)
        ended = [part.stop(timeout_s) for part in parts if part is not None]
        return all(ended)

    def _check_log_fits_store(self) -> None:
        last = self._log.next_segment() - 1
        stored = max(self._log.mark(), self._store.newest_segment())
        if last < stored:
            raise ConfigurationError(
                f"the store holds events up to segment {stored}, but the ingest log ends at "
                f"{last}: its directory was emptied or is another one"
            )
        oldest = min(self._log.sealed(), default=0)
        if self._log.mark() and self._store.newest_segment() < oldest and oldest > 1:
            raise ConfigurationError(
                f"the store was filled up to segment {self._log.mark()} and now lacks it, and the "
                f"ingest log begins at {oldest}: the store was emptied; restore it from a backup"
            )
        window = self._store.deduplication_window()
        replayable = sum(segment <= stored for segment in self._log.sealed())
        if max(replayable, RETAINED_SEGMENTS_MAX) >= window:
            raise ConfigurationError(
                f"the store remembers {window} inserts, but {replayable} segments may be inserted "
                "again; events would be counted twice"
            )


def add_stored(keeper: Keeper, store: EventStore, *, after: int) -> None:
    """Make the ids of stored events after a log position known; some may be.

    Raises:
        UnavailableError: The store refuses.
    """
    for run in store.writer_runs(after=after):
        scope = Scope(run.business_id, run.mode)
        keeper.known.add_run(scope, run.writer_id, run.first, run.last)
    for block in store.foreign_ids(after=after):
        add_foreign(keeper, block)


def add_foreign(keeper: Keeper, event_ids: Mapping[tuple[str, str], list[str]]) -> None:
    """Make ids by (business, mode) known; some may be."""
    for scope, ids in event_ids.items():
        keeper.known.add_missing(keeper.known.keys(Scope(*scope), ids))
        keeper.spill()
