"""Accept: a checked batch becomes durable, once, before it is answered."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import compress

import msgspec

from streamgauge.core.errors import TooLargeError, UnavailableError
from streamgauge.core.limits import COMMIT_WAIT_S, DISK_RESERVE_BYTES, INGEST_LOG_BYTES_MAX
from streamgauge.server.ingest.commit import Commit, Committer
from streamgauge.server.ingest.decode import Batch, Scope
from streamgauge.server.ingest.dedupe import Keys
from streamgauge.server.ingest.errors import BatchRefusedError
from streamgauge.server.ingest.keeper import Keeper
from streamgauge.server.ingest.log import AppendLog
from streamgauge.server.ingest.rows import encode


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """How a batch ended.

    Attributes:
        stored: Per event, whether it is new; the others were known.
    """

    stored: list[bool]


class Acceptor:
    """Takes batches on one event loop.

    Args:
        log: Where batches go.
        keeper: Keeps the ids that were taken.
        committed: Called, on another thread, after batches reached the disk.
        judged: Returns, on the loop, which ids of a batch that is in the log were new in it, and
            keeps them; without it all are, since nobody else writes to the log.

    Attributes:
        counts: Events ``stored`` and ``duplicate`` since the start.
    """

    def __init__(
        self,
        log: AppendLog,
        keeper: Keeper,
        *,
        committed: Callable[[], None],
        judged: Callable[[Commit], list[bool]] | None = None,
    ) -> None:
        self._log = log
        self._keeper = keeper
        self._known = keeper.known
        self._committed = committed
        self._judged = judged
        self._in_flight: dict[Scope, dict[str, Commit]] = {}
        self._committer: Committer | None = None
        self.counts: Counter[str] = Counter()

    def start(self) -> None:
        """Start to take batches, on the running loop."""
        self._committer = Committer(self._log, settle=self._settle, committed=self._committed)
        self._committer.start()

    def stop(self, timeout_s: float) -> bool:
        """Settle what is queued; return whether that ended in time."""
        return self._committer is None or self._committer.stop(timeout_s)

    @property
    def trouble(self) -> str | None:
        """Return why no batch can be taken, None if they can."""
        return "not started" if self._committer is None else self._committer.trouble

    @property
    def queued_bytes(self) -> int:
        """Return the bytes that wait to be appended."""
        return 0 if self._committer is None else self._committer.queued_bytes

    async def accept(self, scope: Scope, batch: Batch) -> Accepted:
        """Return when every event of ``batch`` is on disk, once.

        Raises:
            BatchRefusedError: A new event's timestamp is too far from our clock.
            UnavailableError: The log is full or fails; the same batch may be sent again.
        """
        event_ids = batch.event_ids
        await self._wait_for_originals(scope, event_ids)
        keys = self._known.keys(scope, event_ids)
        stored = [not known for known in self._known.known(keys)]
        untimely = [error for error in batch.untimely if stored[error.index]]
        if untimely:
            raise BatchRefusedError(untimely)
        if all(stored):
            stored = await self._commit(keys, batch)
        elif any(stored):
            fresh = batch._replace(
                events=list(compress(batch.events, stored)),
                event_ids=list(compress(event_ids, stored)),
            )
            outcomes = iter(await self._commit(keys.where(stored), fresh))
            stored = [new and next(outcomes) for new in stored]
        new = sum(stored)
        self.counts["stored"] += new
        self.counts["duplicate"] += len(stored) - new
        return Accepted(stored=stored)

    async def _commit(self, keys: Keys, fresh: Batch) -> list[bool]:
        committer = self._committer
        if committer is None or committer.trouble is not None:
            raise UnavailableError(f"nothing can be accepted: {self.trouble}", 2)
        record = encode(fresh.head, fresh.events)
        if len(record) > self._log.record_bytes_max:
            raise TooLargeError(
                f"the batch takes {len(record)} bytes in the log, and a record of it at most "
                f"{self._log.record_bytes_max}; send fewer events at once"
            )
        if not committer.has_room(len(record)):
            raise UnavailableError("too many events wait for the disk", 1)
        if self._log.free_bytes() < DISK_RESERVE_BYTES:
            raise UnavailableError("the disk is full but for its reserve", 30)
        if self._log.size_bytes() + len(record) > INGEST_LOG_BYTES_MAX:
            raise UnavailableError("the ingest log is full, since the store takes no events", 30)
        commit = Commit(record, keys, fresh.event_ids)
        self._in_flight.setdefault(keys.scope, {}).update(dict.fromkeys(commit.event_ids, commit))
        committer.submit(commit)
        if not await self._settled(commit):
            raise UnavailableError("the log could not be written; nothing of the batch was kept", 2)
        return commit.stored

    async def _wait_for_originals(self, scope: Scope, event_ids: Iterable[str]) -> None:
        """Return when none of the ids is in flight."""
        while in_flight := self._in_flight.get(scope):
            commits = {in_flight[event_id] for event_id in event_ids if event_id in in_flight}
            if not commits:
                return
            for commit in commits:
                await self._settled(commit)

    async def _settled(self, commit: Commit) -> bool:
        """Return whether ``commit`` is on disk.

        Raises:
            UnavailableError: That is not known yet; its ids stay in flight.
        """
        outcomes: list[asyncio.Future[bool] | asyncio.Future[None]] = [
            commit.settled,
            commit.doubted,
        ]
        await asyncio.wait(outcomes, timeout=COMMIT_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        if not commit.settled.done():
            raise UnavailableError("the disk has not confirmed the batch; send it again", 2)
        return commit.settled.result()

    def _settle(self, commits: Sequence[Commit], on_disk: bool, newest: int) -> None:
        for commit in commits:
            in_flight = self._in_flight[commit.keys.scope]
            for event_id in commit.event_ids:
                del in_flight[event_id]
            if on_disk and self._judged is not None:
                commit.stored = self._judged(commit)
            elif on_disk:
                self._known.add(commit.keys)
        if on_disk and self._judged is None:
            self._keeper.settled(newest, sum(len(commit.record) for commit in commits))
