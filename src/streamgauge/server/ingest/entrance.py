"""Where events enter a cluster: accept, publish, follow, answer."""

from __future__ import annotations

from collections.abc import Mapping

from streamgauge.core.errors import ConfigurationError
from streamgauge.server.ingest.accept import Acceptor
from streamgauge.server.ingest.decode import Scope
from streamgauge.server.ingest.follower import Follower, OnLoop
from streamgauge.server.ingest.keeper import Keeper
from streamgauge.server.ingest.streams import Streams
from streamgauge.server.store import EventStore


class Entrance:
    """Accepts batches on one event loop into a log that many write to.

    Args:
        streams: The log.
        keeper: Keeps the ids of this process; nobody else adds to them.
        store: Has the ids of what left the log before this process read it.

    Raises:
        ConfigurationError: The streams are not ours.
        UnavailableError: They cannot be read now.

    Attributes:
        acceptor: Takes batches.
    """

    def __init__(self, streams: Streams, keeper: Keeper, store: EventStore) -> None:
        self._keeper = keeper
        self._store = store
        self._started = False
        self._follower = Follower(streams, keeper, self._learn_stored)
        self.acceptor = Acceptor(
            self._follower, keeper, committed=lambda: None, judged=self._follower.outcome
        )

    @property
    def log_bytes(self) -> int:
        """Return the size of the log."""
        return self._follower.size_bytes()

    def recover(self) -> int:
        """Bring the known ids up to the log's end; return how many events were read.

        Raises:
            ConfigurationError: Ids and log do not belong together.
            UnavailableError: The log or the store cannot be read now.
        """
        if self._follower.is_ahead:
            raise ConfigurationError(
                f"the known ids reach up to record {self._follower.followed}, but the stream ends "
                "before it: it was deleted or is another one"
            )
        events = self._follower.recover()
        self._keeper.save(self._follower.followed)
        return events

    def start(self) -> None:
        """Start to take batches, on the running loop."""
        self._started = True
        self._follower.start()
        self._keeper.start()
        self.acceptor.start()

    def refresh(self) -> None:
        """Follow the log to its end, so that the next batch finds little to catch up with.

        Raises:
            UnavailableError: It cannot be read now.
        """
        self._follower.refresh()

    @property
    def keeper(self) -> Keeper:
        """Return what keeps the ids."""
        return self._keeper

    def _learn_stored(self, on_loop: OnLoop) -> None:
        known = self._keeper.known
        for run in self._store.writer_runs():
            scope = Scope(run.business_id, run.mode)
            on_loop(known.add_run, scope, run.writer_id, run.first, run.last)
        for block in self._store.foreign_ids():
            on_loop(self._add_foreign, block)

    def _add_foreign(self, event_ids: Mapping[tuple[str, str], list[str]]) -> None:
        known = self._keeper.known
        for scope, ids in event_ids.items():
            known.add_missing(known.keys(Scope(*scope), ids))
            if not self._started:
                self._keeper.spill()

    def stop(self, timeout_s: float) -> bool:
        """Settle what was sent, stop the threads, and return whether they ended in time."""
        return all([self.acceptor.stop(timeout_s), self._keeper.stop(timeout_s)])
