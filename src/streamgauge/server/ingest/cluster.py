"""The way of events through a cluster, as one process of it: an entrance, the writer, or both."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from streamgauge.core.clock import Clock, utc
from streamgauge.core.errors import (
    StreamgaugeError,
    UnavailableError,
    UnsupportedError,
)
from streamgauge.core.limits import CAUGHT_UP_WAIT_S
from streamgauge.server.ingest.accept import Accepted
from streamgauge.server.ingest.decode import Scope, decode
from streamgauge.server.ingest.entrance import Entrance
from streamgauge.server.ingest.event_path import Cut, PipelineState, Swept
from streamgauge.server.ingest.pipeline import Pipeline
from streamgauge.server.ingest.progress import Progress
from streamgauge.server.ingest.stream_log import STREAMS_KEEP, StreamLog
from streamgauge.server.ingest.streams import Streams
from streamgauge.server.metering.forgetting import Forget
from streamgauge.server.metering.meter import Meter

T = TypeVar("T")
_log: Final = logging.getLogger("streamgauge.server.ingest")
_REFRESH_S: Final = 0.25
# A rollup of many meters is planned between two inserts.
_ROLLUP_WAIT_S: Final = 30.0
_QUARANTINE_ELSEWHERE: Final = "the quarantine of the process that writes; ask it"
_ROLLUP: Final = "rollup"


class Writing(msgspec.Struct, frozen=True):
    """The writer's part: its pipeline, and the log that it reads."""

    pipeline: Pipeline
    log: StreamLog


class ClusterPath:
    """What ``Pipeline`` is to a server that stands alone.

    Args:
        streams: The log.
        entrance: Accepts events, in a process that does.
        writing: Brings them to the store, in the one process that does.
        fill: Called on the loop, in the writer, after a rollup was planned for another process.
        clock: Where time comes from.

    Attributes:
        refused: Refused requests since the start, by error code.
    """

    def __init__(
        self,
        streams: Streams,
        entrance: Entrance | None,
        writing: Writing | None,
        fill: Callable[[], Awaitable[None]],
        *,
        clock: Clock,
    ) -> None:
        self._streams = streams
        self._entrance = entrance
        self._writing = writing
        self._fill = fill
        self._filling = set[asyncio.Task[None]]()
        self._clock = clock
        self._progress = Progress(streams)
        self._trouble: str | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self.refused: Counter[str] = Counter()

    def recover(self, meters: list[Meter]) -> int:
        """Bring store, rollups and known ids up to the log; return the events that were replayed.

        Raises:
            ConfigurationError: Log, store and ids do not belong together.
            UnavailableError: The log or the store cannot be read now.
        """
        replayed = self._writing.pipeline.recover(meters) if self._writing is not None else 0
        self._progress.load()
        return replayed + (self._entrance.recover() if self._entrance is not None else 0)

    def businesses(self) -> set[str]:
        """Return whose events are known."""
        found = self._writing.pipeline.businesses() if self._writing is not None else set[str]()
        if self._entrance is not None:
            found |= {scope.business_id for scope in self._entrance.keeper.known.scopes()}
        return found

    def start(self) -> None:
        """Start the threads and to follow the others, on the running loop."""
        self._progress.start()
        if self._writing is not None:
            self._start_writing(self._writing)
        if self._entrance is not None:
            self._entrance.start()
        self._refreshing = asyncio.get_running_loop().create_task(self._refresh())

    def now(self) -> datetime:
        """Return the server's time, aware."""
        return utc(self._clock.time_ns())

    async def ingest(
        self, body: bytes, scope: Scope, *, age_s_max: int | None = None
    ) -> tuple[list[str], Accepted]:
        """Return the ids of a body and how they ended, once a quorum has all.

        Raises:
            MalformedBodyError: No JSON, or not of the right shape.
            InvalidInputError: Events break rules.
            TooLargeError: The batch is larger than a message may be.
            UnavailableError: There is no quorum, or the log is full; the same may be sent again.
        """
        if self._entrance is None:
            raise UnavailableError("this process takes no events, it writes them; others take them")
        batch = decode(body, scope, self.now(), age_s_max)
        return batch.event_ids, await self._entrance.acceptor.accept(scope, batch)

    async def caught_up(self, timeout_s: float = CAUGHT_UP_WAIT_S) -> int:
        """Wait until everything that any process accepted before this call is in the store.

        Returns:
            A log position with that in the store; a cut for an invoice.

        Raises:
            UnavailableError: It is not within ``timeout_s``.
        """
        return await self._progress.caught_up(timeout_s)

    async def ensure_rollup(self, meter: Meter) -> None:
        """Return when events are rolled up for ``meter`` as they come; twice is once.

        Raises:
            UnavailableError: No writer runs, or the store refuses; the writer's next start makes up
                for it.
        """
        if self._writing is not None:
            await self._writing.pipeline.ensure_rollup(meter)
            return
        subject = self._streams.subject(_ROLLUP)
        data = msgspec.json.encode(meter)
        ask = self._streams.jetstream.ask
        if error := await asyncio.to_thread(ask, subject, data, _ROLLUP_WAIT_S):
            raise UnavailableError(f"the writer does not roll up: {error.decode()}", 2)

    async def between_inserts(self, _do: Callable[[], T]) -> T:
        """Refuse: the log goes on in other processes.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            "the ingest log is in NATS, which others write to; back up its streams, the store and "
            "the catalog with their own tools"
        )

    async def settled(self) -> int:
        """Return the log position up to which the log no longer has anything to insert again.

        Raises:
            UnsupportedError: Another process writes.
        """
        if self._writing is None:
            raise UnsupportedError("another process brings events to the store")
        return await self._writing.pipeline.settled()

    def cut(self) -> Cut:
        """Refuse, as ``between_inserts`` does.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError("the ingest log is in NATS, which others write to")

    async def forget(self, rule: Forget) -> Swept:
        """Take out of the quarantine what ``rule`` does not keep; the streams cannot be rewritten.

        Raises:
            OSError: The disk refuses; the same call may be made again.
            UnavailableError: Not all events are in the store yet; as above.
        """
        position = await self.caught_up()
        if self._writing is None:
            by_hand = [STREAMS_KEEP, _QUARANTINE_ELSEWHERE]
        else:
            by_hand = (await self._writing.pipeline.forget(rule)).by_hand
        return Swept(position=position, by_hand=by_hand)

    def state(self) -> PipelineState:
        """Return what the path says about itself."""
        state = PipelineState() if self._writing is None else self._writing.pipeline.state()
        trouble = [*state.trouble, *filter(None, [self._trouble])]
        if self._entrance is None:
            return msgspec.structs.replace(state, trouble=trouble, refused=self.refused)
        keeper, acceptor = self._entrance.keeper, self._entrance.acceptor
        runs, foreign = keeper.known.sizes()
        return msgspec.structs.replace(
            state,
            trouble=[*trouble, *filter(None, [acceptor.trouble, keeper.trouble])],
            damage=[*state.damage, *keeper.damage],
            counts=acceptor.counts,
            refused=self.refused,
            queued_bytes=acceptor.queued_bytes,
            log_bytes=self._entrance.log_bytes,
            known_runs=runs,
            known_foreign=foreign,
        )

    def stop(self, timeout_s: float) -> bool:
        """Settle what was sent, stop the threads, and return whether they ended in time."""
        if self._refreshing is not None:
            self._refreshing.get_loop().call_soon_threadsafe(self._refreshing.cancel)
        parts: list[Entrance | Pipeline] = []
        if self._entrance is not None:
            parts.append(self._entrance)
        if self._writing is not None:
            parts.append(self._writing.pipeline)
        ended = [part.stop(timeout_s) for part in parts]
        return all(ended)

    def _start_writing(self, writing: Writing) -> None:
        loop = asyncio.get_running_loop()

        def grown(last: int, hurried: bool) -> None:
            writing.log.told(last)
            writing.pipeline.wake(hurried=hurried)

        async def plan(data: bytes) -> bytes:
            meter = msgspec.json.decode(data, type=Meter)
            planned = asyncio.run_coroutine_threadsafe(self._planned(meter), loop)
            return await asyncio.wrap_future(planned)

        writing.pipeline.start()
        self._streams.follow_end(grown)
        self._streams.jetstream.answer(self._streams.subject(_ROLLUP), plan)

    async def _planned(self, meter: Meter) -> bytes:
        try:
            await self.ensure_rollup(meter)
        except StreamgaugeError as error:
            return str(error).encode()
        task = asyncio.ensure_future(self._fill())
        self._filling.add(task)
        task.add_done_callback(self._filling.discard)
        return b""

    async def _refresh(self) -> None:
        """Keep up with the log, also where what others told was lost."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            try:
                await asyncio.to_thread(self._refresh_once)
            except StreamgaugeError as error:
                if self._trouble is None:
                    _log.warning("the log cannot be followed: %s", error)
                self._trouble = f"the log cannot be followed: {error}"
            else:
                self._trouble = None

    def _refresh_once(self) -> None:
        if self._entrance is not None:
            self._entrance.refresh()
        if self._writing is not None:
            before = self._writing.log.newest()
            self._writing.log.refresh()
            if self._writing.log.newest() > before:
                self._writing.pipeline.wake()
