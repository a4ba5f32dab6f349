"""The SDK's client: counts bytes per customer, keeps them through a crash, delivers them once."""

from __future__ import annotations

import atexit
import functools
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from streamgauge.core.clock import Clock, SystemClock
from streamgauge.core.limits import BATCH_EVENTS_MAX
from streamgauge.sdk.block import Block
from streamgauge.sdk.engine import Engine
from streamgauge.sdk.forks import call_after_fork
from streamgauge.sdk.ground import memory_ground, open_ground
from streamgauge.sdk.groups import checked_group
from streamgauge.sdk.held import HeldSession, held_session_type
from streamgauge.sdk.notices import Notices
from streamgauge.sdk.options import Options, checked, chosen_sink
from streamgauge.sdk.plain import checked_draft
from streamgauge.sdk.records import Draft
from streamgauge.sdk.runner import Runner, in_thread
from streamgauge.sdk.session import StreamSession, session_type
from streamgauge.sdk.stats import Stats
from streamgauge.sinks.base import Sink


class Ingestion:
    """Counts streamed bytes per customer and delivers them as usage events.

    Args:
        environment: ``test_mode`` or ``live_mode``.
        event_name: What meters match, for every event of this ingestion.
        api_key: The key, or a function that gives the current one; ``DODO_PAYMENTS_API_KEY`` if
            neither is given.
        base_url: A server that speaks Dodo Payments' usage API; Dodo's own if not given.
        account: Your word for the account behind the key. Two accounts at one address in one mode
            that share a spool directory must each have one: without it, what one left behind when
            it died is billed to the other. A key may change, so it cannot tell them apart.
        late: ``restamp`` sends usage of more than an hour ago, which Dodo refuses, under the oldest
            time it takes, with the measured one as ``sg_measured_at``; ``hold`` keeps it aside.
            None: restamp towards Dodo's own hosts, leave times alone towards a ``base_url``.
        spool_dir: Where events wait; ``STREAMGAUGE_SPOOL_DIR``, else the user's state directory.
        sink: Takes the events instead of a server; it has its own key and address.
        coalesce: Merge plain calls per customer, metadata and window, too.
        window_s: Sessions' bytes become one event per customer, metadata and UTC window.
        flush_interval_s: Make events of windows that are not over, too, this often.
        delivery_interval_s: The longest wait for a batch to fill.
        sync_interval_s: What a loss of power may cost; a killed process loses nothing.
        batch_events_max: Events in one request.
        clock: Tests hand in their own.

    Raises:
        InvalidInputError: A value breaks a rule, or the key is of the other environment.
        ConfigurationError: There is no key, or the spool directory is not ours alone.
    """

    def __init__(  # noqa: PLR0913 - the options of a client, each with a default.
        self,
        *,
        environment: str,
        event_name: str,
        api_key: str | Callable[[], str] | None = None,
        base_url: str | None = None,
        account: str = "",
        late: Literal["restamp", "hold"] | None = None,
        spool_dir: str | Path | None = None,
        sink: Sink | None = None,
        coalesce: bool = False,
        window_s: int = 60,
        flush_interval_s: float | None = None,
        delivery_interval_s: float = 1.0,
        sync_interval_s: float = 1.0,
        batch_events_max: int = BATCH_EVENTS_MAX,
        clock: Clock | None = None,
    ) -> None:
        self._options = checked(
            Options(
                environment=environment,
                event_name=event_name,
                spool_dir=None if spool_dir is None else Path(spool_dir),
                coalesce=coalesce,
                window_s=window_s,
                flush_interval_s=flush_interval_s,
                delivery_interval_s=delivery_interval_s,
                sync_interval_s=sync_interval_s,
                batch_events_max=batch_events_max,
            )
        )
        self._new_sink = functools.partial(
            chosen_sink,
            sink,
            environment=environment,
            api_key=api_key,
            base_url=base_url,
            account=account,
            late=late,
        )
        self._owns_sink = sink is None
        self._clock = clock or SystemClock()
        self._session_type = session_type()
        self._held_session_type = held_session_type()
        self._session_numbers = itertools.count(1)
        self._start_lock = threading.RLock()
        self._closed = False
        self._runner: Runner | None = self._start()
        call_after_fork(self._after_fork)
        atexit.register(self.close)

    def track(
        self,
        *,
        customer_id: str,
        bytes: int | None = None,
        metadata: Mapping[str, object] | None = None,
        event_id: str | None = None,
        timestamp: datetime | None = None,
    ) -> None:
        """Record bytes that the caller counted; ``track_stream_bytes`` says more.

        Raises:
            InvalidInputError: A value breaks a rule; nothing was recorded.
        """
        draft = self.draft(
            customer_id=customer_id,
            quantity=bytes,
            metadata=metadata,
            event_id=event_id,
            timestamp=timestamp,
        )
        plain = event_id is None and timestamp is None
        if self._options.coalesce and plain and draft.quantity is not None:
            self._engine().coalescer.add(draft.group, draft.quantity)
        else:
            self._engine().accept(draft, mergeable=plain and draft.quantity is not None)

    def draft(self, **fields: Any) -> Draft:  # noqa: ANN401 - they are checked
        """Return the event of a plain call with ``checked_draft``'s fields; readers call this."""
        return checked_draft(self._options.event_name, **fields, now_ns=self._clock.time_ns())

    def session(
        self, *, customer_id: str, metadata: Mapping[str, object] | None = None
    ) -> StreamSession:
        """Return a session that counts one stream, chunk by chunk.

        Raises:
            InvalidInputError: A value breaks a rule.
        """
        group = checked_group(self._options.event_name, customer_id, metadata, measured=True)
        return self._session_type(self, group.descriptor())

    def held_session(
        self,
        *,
        customer_id: str,
        metadata: Mapping[str, object] | None = None,
        layers: Sequence[str] = (),
    ) -> HeldSession:
        """Return a session whose bytes are billed when somebody has settled them.

        Args:
            customer_id: Who pays.
            metadata: What the bytes are.
            layers: The session's ``sides``: layers that are told beside the bytes.

        Raises:
            InvalidInputError: A value breaks a rule.
        """
        name = self._options.event_name
        group = checked_group(name, customer_id, metadata, measured=True, layers=layers)
        session = self._held_session_type(self, group.descriptor())
        for layer in layers:
            session.sides[layer] = self._session_type(self, group.of_layer(layer).descriptor())
        return session

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Return whether everything counted before the call was settled by the sink in time."""
        return self._running().flush(timeout_s)

    async def aflush(self, timeout_s: float = 10.0) -> bool:
        """Await ``flush`` without blocking the event loop."""
        return await in_thread(self.flush, timeout_s)

    def close(self, timeout_s: float = 5.0) -> bool:
        """Flush, bounded, and stop; twice is once.

        Returns:
            Whether nothing is left; what is left stays on disk for the next process.
        """
        with self._start_lock:
            if self._closed:
                return self._running().engine.settled()
            runner = self._runner
            if runner is None:
                # A forked process that counted nothing has nothing to end.
                return True
            self._closed = True
        atexit.unregister(self.close)
        empty = runner.close(timeout_s)
        if self._owns_sink and runner.stopped:
            self._sink.close()
        return empty

    async def aclose(self, timeout_s: float = 5.0) -> bool:
        """Await ``close`` without blocking the event loop."""
        return await in_thread(self.close, timeout_s)

    def stats(self) -> Stats:
        """Return where every counted byte stands."""
        return self._engine().stats()

    def record(self, draft: Draft) -> None:
        """Record a ``draft``, or raise OSError if it must be tried again; readers call this."""
        self._engine().record(draft)

    def sync(self) -> None:
        """Put on disk what was recorded, or raise OSError; readers call this."""
        self._engine().sync()

    def attach(self, session: StreamSession, n: int) -> None:
        """Count ``n`` bytes of a session that has no slot; sessions call this."""
        self._engine().coalescer.attach(session, n)

    def give_back(self, descriptor: bytes, block: Block, at: int) -> None:
        """Take the slot of a session that ended; sessions call this."""
        if self._runner is not None:
            self._runner.engine.coalescer.give_back(descriptor, block, at)

    def locked(self) -> AbstractContextManager[object]:
        """Return the lock under which slots, events and totals agree; sessions call this."""
        return self._engine().coalescer.locked()

    def new_session_id(self) -> str:
        """Return a name that no other session has; sessions call this."""
        return f"{self._engine().spool.identity.writer_id}:{next(self._session_numbers)}"

    def _engine(self) -> Engine:
        return self._running().engine

    def _running(self) -> Runner:
        runner = self._runner
        if runner is None:
            # Only in a process that was forked, at the first use.
            with self._start_lock:
                runner = self._runner = self._runner or self._start()
        return runner

    def _start(self) -> Runner:
        notices = Notices(self._clock)
        self._sink = self._new_sink()
        ground = open_ground(self._options.spool_dir, self._clock, notices)
        try:
            engine = Engine(self._options, self._sink, ground, notices)
        except OSError as error:
            ground = memory_ground(self._clock, notices, error)
            engine = Engine(self._options, self._sink, ground, notices)
        runner = Runner(engine, self._options, self._clock, notices)
        runner.start()
        return runner

    def _after_fork(self) -> None:
        """Leave everything to the parent; the first use opens a spool of this process's own."""
        self._start_lock = threading.RLock()
        if self._runner is not None and not self._closed:
            self._runner.engine.abandon()
            self._runner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
