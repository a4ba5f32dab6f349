"""The deliverer: settles waiting events with the sink, oldest first, the same ids on every try."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from streamgauge.core.backoff import Backoff
from streamgauge.core.clock import NS_PER_S, Clock
from streamgauge.core.limits import AUTH_RETRY_S
from streamgauge.sdk.notices import Notices
from streamgauge.sdk.records import SpooledEvent
from streamgauge.sdk.spool import Spool
from streamgauge.sinks.base import (
    AuthError,
    BatchRefusedError,
    BatchTooLargeError,
    Outgoing,
    RetryLaterError,
    Sink,
)

_Chunk = Sequence[SpooledEvent]


class Deliverer:
    """Takes batches from spools to one sink; used by one thread at a time.

    Args:
        sink: Takes the events.
        clock: Says when the sink may be tried again.
        notices: Told of every failure.
        batch_events_max: Events in one request.
        backoff: How long to wait after a failure.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        clock: Clock,
        notices: Notices,
        batch_events_max: int,
        backoff: Backoff | None = None,
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._notices = notices
        self._batch_events_max = batch_events_max
        self._backoff = backoff or Backoff()
        self._not_before_ns = 0
        self.stopped = False

    def step(self, spool: Spool) -> float | None:
        """Settle one batch.

        Returns:
            Seconds to wait before the next step; None: nothing is ready.
        """
        wait_ns = self._not_before_ns - self._clock.monotonic_ns()
        if wait_ns > 0:
            return wait_ns / NS_PER_S
        try:
            batch = spool.batch(self._batch_events_max)
            if not batch:
                self._trim(spool)
                return None
            self._settle_all(spool, batch)
        except OSError as error:
            self._notices.tell("spool", f"the disk refuses the spool, events wait: {error}")
            return self._backoff.next_s()
        except RetryLaterError as error:
            return self._later(error)
        except Exception as error:  # noqa: BLE001 - a sink of the host's own must not stop delivery.
            self._notices.tell("sink", f"the sink failed: {type(error).__name__}: {error}")
            return self._backoff.next_s()
        self._trim(spool)
        self._backoff.reset()
        return 0.0

    def _trim(self, spool: Spool) -> None:
        """Remove what is settled; a disk that refuses this must not hold up what waits."""
        try:
            spool.trim()
        except OSError as error:
            self._notices.tell("spool", f"settled events cannot be removed yet: {error}")

    def _settle_all(self, spool: Spool, batch: _Chunk) -> None:
        """Settle ``batch`` from its front, in parts where the sink does not take it whole."""
        condemned: dict[str, str] = {}
        waiting = deque([batch])
        while waiting and not self.stopped:
            chunk = waiting.popleft()
            try:
                condemned |= self._deliver([e for e in chunk if e.event_id not in condemned])
            except BatchTooLargeError as error:
                waiting.extendleft(_halves(chunk, condemned, str(error)))
            except BatchRefusedError as error:
                ids = {event.event_id for event in chunk if event.event_id not in condemned}
                guilty = {r.event_id: r.reason for r in error.guilty if r.event_id in ids}
                condemned |= guilty
                again = [chunk] if guilty else _halves(chunk, condemned, error.reason)
                waiting.extendleft(again)
            else:
                self._settle(spool, chunk, condemned)

    def _deliver(self, chunk: _Chunk) -> dict[str, str]:
        """Return the reasons, by event id, of what the sink refused out of ``chunk``."""
        if not chunk:
            return {}
        outgoing = [
            Outgoing(event_id=event.event_id, body=event.body, quantity=event.quantity)
            for event in chunk
        ]
        delivered = self._sink.deliver(outgoing)
        refused = {refusal.event_id: refusal.reason for refusal in delivered.refused}
        settled = refused.keys() | set(delivered.acknowledged)
        if unsettled := [event for event in chunk if event.event_id not in settled]:
            raise RetryLaterError(f"the sink said nothing of {len(unsettled)} events")
        return refused

    def _settle(self, spool: Spool, chunk: _Chunk, condemned: dict[str, str]) -> None:
        if self.stopped:
            return
        removed = spool.settle(chunk, condemned)
        if reasons := [condemned[e.event_id] for e in chunk if e.event_id in condemned]:
            self._notices.tell("refused", f"{len(reasons)} events were refused: {reasons[0]}")
        if removed:
            self._notices.tell("dead letters", "the oldest refused events were removed")

    def _later(self, error: RetryLaterError) -> float:
        self._notices.tell("sink", f"the events are kept for later: {error}")
        asked_s = AUTH_RETRY_S if isinstance(error, AuthError) else error.retry_after_s or 0.0
        # What the other side asked for also holds when a flush wakes us.
        self._not_before_ns = self._clock.monotonic_ns() + int(asked_s * NS_PER_S)
        return max(self._backoff.next_s(), asked_s)


def _halves(chunk: _Chunk, condemned: dict[str, str], reason: str) -> list[_Chunk]:
    """Return the two halves of ``chunk``, the later first, or condemn its only event."""
    if len(chunk) == 1:
        condemned[chunk[0].event_id] = reason
        return [chunk]
    middle = len(chunk) // 2
    return [chunk[middle:], chunk[:middle]]
