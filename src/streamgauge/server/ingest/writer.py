"""From the log to the store: sealed segments, in order, each inserted once.

The writer seals the active segment when it has nothing else to do, so segments grow with the load:
what comes while one is inserted makes up the next. Rollups are made on the same thread, between
inserts, so that their cut is exact.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from streamgauge.core.backoff import Backoff
from streamgauge.core.clock import NS_PER_S, Clock, SystemClock
from streamgauge.core.errors import UnavailableError
from streamgauge.server.ingest.inserter import Inserter
from streamgauge.server.ingest.log import IngestLog
from streamgauge.server.metering.meter import Meter
from streamgauge.server.store import EventStore
from streamgauge.server.store.segments import ROW_BITS, log_position

T = TypeVar("T")
_log = logging.getLogger("streamgauge.server.ingest")
# An insert costs some 10 ms however few rows it has, and a part to merge later. Whoever asks for
# fresh events does not wait for this.
INTERVAL_S = 0.25


class Writer:
    """The writer thread.

    Args:
        log: What to insert.
        store: Where to.
        inserter: How segments get there.
        clock: For the interval between small segments and for the lag.
        backoff: How long to wait after a failed insert.
    """

    def __init__(
        self,
        log: IngestLog,
        store: EventStore,
        inserter: Inserter,
        *,
        clock: Clock | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._log = log
        self._store = store
        self._inserter = inserter
        self._clock = clock or SystemClock()
        self._backoff = backoff or Backoff(0.2, 15.0)
        self._changed = threading.Condition()
        self._jobs: deque[_Job[Any]] = deque()
        self._waiting: list[tuple[int, _Answer[None]]] = []
        self._hurried = False
        self._stopping = False
        # Since when something of a segment waits, by segment.
        self._since_ns: dict[int, int] = {}
        self._thread = threading.Thread(target=self._run, name="streamgauge-writer", daemon=True)
        self.trouble: str | None = None

    @property
    def position(self) -> int:
        """Return the log position up to which everything is in the store."""
        return log_position(self._inserter.inserted, (1 << ROW_BITS) - 1)

    @property
    def lag_s(self) -> float:
        """Return how long the oldest row that is on disk waits for the store, in seconds."""
        with self._changed:
            since_ns = min(self._since_ns.values(), default=None)
        return 0.0 if since_ns is None else (self._clock.monotonic_ns() - since_ns) / NS_PER_S

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self, *, hurried: bool = False) -> None:
        """Tell the writer, from any thread, that the log has grown, and that somebody waits."""
        with self._changed:
            self._hurried |= hurried
            noted = max(self._since_ns, default=0)
            for segment in range(max(noted, self._inserter.inserted) + 1, self._log.newest() + 1):
                self._since_ns[segment] = self._clock.monotonic_ns()
            self._changed.notify()

    async def caught_up(self, timeout_s: float) -> None:
        """Return when everything accepted before this call is in the store.

        Raises:
            UnavailableError: It is not within ``timeout_s``; asking again makes sense.
        """
        target = self._log.newest()
        if self._inserter.inserted >= target:
            return
        answer = _Answer[None]()
        with self._changed:
            self._waiting.append((target, answer))
            self._hurried = True
            self._changed.notify()
        try:
            await asyncio.wait_for(answer.future, timeout_s)
        except TimeoutError:
            raise UnavailableError(
                f"events up to segment {target} are on disk but not in the store yet"
                + (f": {self.trouble}" if self.trouble else ""),
                2,
            ) from None

    async def ensure_rollup(self, meter: Meter) -> None:
        """Return when events are rolled up for ``meter`` as they come; does nothing once they are.

        Raises:
            UnavailableError: The store refuses.
        """
        await self.between_inserts(lambda: self._store.plan_rollups([meter], self.position))

    async def between_inserts(self, do: Callable[[], T]) -> T:
        """Return ``do()``, called on the writer's thread while no segment is half inserted.

        Raises:
            Exception: Whatever ``do`` raises.
        """
        job = _Job(do)
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        return await job.answer.future

    def ensure_rollups(self, meters: list[Meter]) -> None:
        """Roll up what ``meters`` need; call it after ``recover``, before ``start``.

        Raises:
            UnavailableError: The store refuses.
        """
        self._store.plan_rollups(meters, self.position)

    def stop(self, timeout_s: float) -> bool:
        """Stop after the running insert and return whether it ended in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while self._rest():
            try:
                self._work()
            except Exception as error:  # noqa: BLE001 - it would end in silence
                self.trouble = str(error)
                _log.warning("the store does not take events: %s", error)
                with self._changed:
                    # Who waits has been served by this try; who asks anew is worth another.
                    self._hurried = False
                self._pause(self._backoff.next_s())
            else:
                self.trouble = None
                self._backoff.reset()

    def _rest(self) -> bool:
        """Wait for work; return False when it is time to stop."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or self._jobs or self._inserter.inserted < self._log.newest()
            )
            return not self._stopping

    def _work(self) -> None:
        while self._jobs:
            self._jobs.popleft().run()
        waiting = [segment for segment in self._log.sealed() if segment > self._inserter.inserted]
        if waiting:
            self._inserter.insert(waiting[0])
            self._answer()
            self._inserter.trim()
        elif self._inserter.inserted < self._log.newest():
            self._pause(INTERVAL_S)
            self._seal()

    def _seal(self) -> None:
        with self._changed:
            self._hurried = False
        sealed = self._log.newest()
        self._log.seal()
        with self._changed:
            # What a stream has beyond a segment waited as long as what is in it.
            if self._log.newest() > sealed and sealed in self._since_ns:
                self._since_ns.setdefault(self._log.newest(), self._since_ns[sealed])

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._hurried or self._jobs, seconds)

    def _answer(self) -> None:
        with self._changed:
            ready = [
                answer for target, answer in self._waiting if target <= self._inserter.inserted
            ]
            self._waiting = [pair for pair in self._waiting if pair[0] > self._inserter.inserted]
            for segment in [each for each in self._since_ns if each <= self._inserter.inserted]:
                del self._since_ns[segment]
        for answer in ready:
            answer.give(None)


class _Answer(Generic[T]):
    """A future of the loop that asks, given from the writer's thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()

    def give(self, value: T) -> None:
        self._call(self.future.set_result, value)

    def fail(self, error: Exception) -> None:
        self._call(self.future.set_exception, error)

    def _call(self, settle: Callable[[Any], None], outcome: object) -> None:
        def once() -> None:
            if not self.future.done():
                settle(outcome)

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(once)


class _Job(Generic[T]):
    """Something to be done between inserts, for whoever waits for the answer."""

    def __init__(self, do: Callable[[], T]) -> None:
        self._do = do
        self.answer = _Answer[T]()

    def run(self) -> None:
        try:
            done = self._do()
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            self.answer.fail(error)
        else:
            self.answer.give(done)
