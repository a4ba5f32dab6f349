"""Group commit: one thread appends what has gathered, syncs once, and settles it.

Batches that come while a sync runs share the next one, so no timer is needed. A batch whose append
fails was never there. A batch that was appended but not synced is in doubt: it may be on disk or
not, so its ids stay in flight, nothing new is taken, and the sync is tried again until it is
settled one way for ever.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence

from streamgauge.core.backoff import Backoff
from streamgauge.core.errors import StreamgaugeError, UnavailableError
from streamgauge.core.limits import COMMIT_QUEUE_BYTES_MAX
from streamgauge.server.ingest.dedupe import Keys
from streamgauge.server.ingest.log import AppendLog

_log = logging.getLogger("streamgauge.server.ingest")


class Commit:
    """One batch on its way to the disk.

    Attributes:
        record: The batch as it stands in the log.
        keys: The new ids in it, as they are remembered.
        event_ids: The same ids, as they are in flight.
        number: The log's for the record.
        stored: Per id, whether it was new, once the batch is on disk.
        settled: Set on the loop: True when it is on disk, False when it was never taken.
        doubted: Set on the loop when a sync failed; ``settled`` still comes.
    """

    def __init__(self, record: bytes, keys: Keys, event_ids: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        self.record = record
        self.keys = keys
        self.event_ids = event_ids
        self.number = 0
        self.stored = [True] * len(event_ids)
        self.settled: asyncio.Future[bool] = loop.create_future()
        self.doubted: asyncio.Future[None] = loop.create_future()


Settle = Callable[[Sequence[Commit], bool, int], None]


class Committer:
    """The commit thread.

    Args:
        log: Where batches go.
        settle: Called on the loop with batches, whether they are on disk, and the newest segment;
            of the segments before it nothing is left to settle.
        committed: Called on the thread after a sync that settled batches.
        backoff: How long to wait after a failed sync.
    """

    def __init__(
        self,
        log: AppendLog,
        *,
        settle: Settle,
        committed: Callable[[], None],
        backoff: Backoff | None = None,
    ) -> None:
        self._log = log
        self._settle = settle
        self._committed = committed
        self._backoff = backoff or Backoff(0.05, 2.0)
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._queue: list[Commit] = []
        self._queued_bytes = 0
        self._stopping = False
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="streamgauge-commit", daemon=True)

    @property
    def trouble(self) -> str | None:
        """Return why nothing new can be taken, None if it can."""
        return self._trouble

    @property
    def queued_bytes(self) -> int:
        """Return the bytes that wait to be appended."""
        return self._queued_bytes

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def has_room(self, size: int) -> bool:
        """Tell whether ``size`` bytes more may wait."""
        return not self._stopping and self._queued_bytes + size <= COMMIT_QUEUE_BYTES_MAX

    def submit(self, commit: Commit) -> None:
        """Queue a batch; ask ``has_room`` before."""
        with self._changed:
            self._queue.append(commit)
            self._queued_bytes += len(commit.record)
            self._changed.notify()

    def stop(self, timeout_s: float) -> bool:
        """Settle what is queued, stop the thread, and return whether it ended in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._commit()
        except Exception as error:  # noqa: BLE001 - it would end in silence
            self._trouble = f"the commit thread died: {error}"
            _log.exception("the commit thread died; nothing can be accepted")

    def _commit(self) -> None:
        doubtful: list[Commit] = []
        while True:
            taken = self._take(wait=not doubtful)
            if not taken and not doubtful:
                return
            doubtful += self._append(taken)
            if doubtful and self._sync(doubtful):
                self._tell(doubtful, on_disk=True)
                doubtful = []
                self._committed()
            elif doubtful and self._pause():
                return

    def _take(self, *, wait: bool) -> list[Commit]:
        """Return everything queued; empty only without ``wait`` or at the end."""
        with self._changed:
            while wait and not self._queue and not self._stopping:
                self._changed.wait()
            taken, self._queue = self._queue, []
            self._queued_bytes = 0
            return taken

    def _append(self, commits: list[Commit]) -> list[Commit]:
        appended = []
        for commit in commits:
            try:
                commit.number = self._log.append(commit.record)
            except (OSError, StreamgaugeError) as error:
                _log.warning("a batch could not be appended to the log: %s", error)
                self._tell([commit], on_disk=False)
            else:
                appended.append(commit)
        return appended

    def _sync(self, commits: list[Commit]) -> bool:
        try:
            self._log.sync()
        except (OSError, UnavailableError) as error:
            self._trouble = f"the log cannot be synced: {error}"
            _log.error("%s; %d batches are in doubt", self._trouble, len(commits))
            self._on_loop(_doubt, list(commits))
            return False
        self._trouble = None
        self._backoff.reset()
        return True

    def _pause(self) -> bool:
        """Wait before the next sync; return whether it is time to give up."""
        with self._changed:
            if not self._stopping:
                self._changed.wait_for(lambda: self._stopping, self._backoff.next_s())
            return self._stopping

    def _tell(self, commits: Sequence[Commit], *, on_disk: bool) -> None:
        self._on_loop(self._settle_all, list(commits), on_disk, self._log.newest())

    def _settle_all(self, commits: Sequence[Commit], on_disk: bool, newest: int) -> None:
        self._settle(commits, on_disk, newest)
        for commit in commits:
            commit.settled.set_result(on_disk)

    def _on_loop(self, call: Callable[..., None], *values: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *values)


def _doubt(commits: Sequence[Commit]) -> None:
    for commit in commits:
        if not commit.doubted.done():
            commit.doubted.set_result(None)
