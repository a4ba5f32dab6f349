"""The deliverer: settles waiting events with the sink, oldest first, the same ids on every try.

One request carries events of many spools; of each spool they are its oldest, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from streamgauge.core.backoff import Backoff
from streamgauge.core.clock import NS_PER_S, Clock
from streamgauge.core.errors import StreamgaugeError
from streamgauge.core.limits import AUTH_RETRY_S, DELIVERY_BYTES_MAX
from streamgauge.sdk.attempts import Attempts
from streamgauge.sdk.notices import Notices
from streamgauge.sdk.queues import Parcel, Queue
from streamgauge.sdk.records import SpooledEvent
from streamgauge.sinks.base import (
    AuthError,
    BatchRefusedError,
    BatchTooLargeError,
    Outgoing,
    RetryLaterError,
    Sink,
    Verdict,
)

_Chunk = Sequence[Parcel]


class Deliverer:
    """Takes batches from spools to one sink; used by one thread at a time.

    Args:
        sink: Takes the events.
        clock: Says when the sink may be tried again.
        notices: Told of every failure.
        batch_events_max: Events in one request.
        attempts: Remembers which events may have arrived; None: the sink does not ask.
        backoff: How long to wait after a failure.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        clock: Clock,
        notices: Notices,
        batch_events_max: int,
        attempts: Attempts | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._notices = notices
        self._batch_events_max = batch_events_max
        self._attempts = attempts
        self._backoff = backoff or Backoff()
        self._not_before_ns = 0
        # Queues that could not note their answers, by name.
        self._stuck: set[str] = set()
        self.stopped = False
        self.key_refused = False
        """Whether the key was not accepted in the last step."""

    def step(self, queues: Sequence[Queue]) -> float | None:
        """Settle one batch out of all ``queues``.

        Returns:
            Seconds to wait before the next step; None: nothing is ready.
        """
        self.key_refused = False
        wait_ns = self._not_before_ns - self._clock.monotonic_ns()
        if wait_ns > 0:
            return wait_ns / NS_PER_S
        batch, trouble = self._collect(queues)
        if not batch:
            trouble = not self._trim(queues) or trouble
            return self._backoff.next_s() if trouble else None
        try:
            noted = self._settle_all(batch)
        except RetryLaterError as error:
            return self._later(error)
        except Exception as error:  # noqa: BLE001 - a sink of the host's own must not stop delivery.
            self._notices.tell("sink", f"the sink failed: {type(error).__name__}: {error}")
            return self._backoff.next_s()
        finally:
            self._trim(dict.fromkeys(parcel.queue for parcel in batch))
        if not noted:
            return self._backoff.next_s()
        # A spool that cannot be read holds up no other; it is tried again when they are empty.
        self._backoff.reset()
        return max(0, self._not_before_ns - self._clock.monotonic_ns()) / NS_PER_S

    def wait_until(self, not_before_ns: int) -> None:
        """Ask the sink nothing before an instant of the monotonic clock."""
        self._not_before_ns = max(self._not_before_ns, not_before_ns)

    def _collect(self, queues: Sequence[Queue]) -> tuple[list[Parcel], bool]:
        """Return the oldest events of the queues that are most behind, and whether one failed."""
        batch: list[Parcel] = []
        ids: set[str] = set()
        size_bytes, trouble = 0, False
        # What one cannot note comes again and again; it waits until the others are empty.
        in_order = sorted(queues, key=lambda queue: (queue.name in self._stuck, queue.head_ns))
        for queue in in_order:
            if batch and queue.name in self._stuck:
                break
            room = self._batch_events_max - len(batch)
            if room <= 0 or size_bytes > DELIVERY_BYTES_MAX:
                break
            try:
                found = queue.batch(room)
            except (OSError, StreamgaugeError) as error:
                self._notices.tell("spool", f"the disk refuses the spool, events wait: {error}")
                trouble = True
                continue
            for event in found:
                # Callers may have used an id in two processes; a request holds it once.
                if event.event_id in ids or size_bytes > DELIVERY_BYTES_MAX:
                    break
                ids.add(event.event_id)
                size_bytes += len(event.body)
                batch.append(Parcel(queue, event))
        return batch, trouble

    def _trim(self, queues: Sequence[Queue] | Mapping[Queue, None]) -> bool:
        """Remove what is settled; a disk that refuses this must not hold up what waits."""
        trimmed = [self._tried(queue.trim, "settled events cannot be removed") for queue in queues]
        return all(trimmed)

    def _tried(self, step: Callable[[], object], trouble: str) -> bool:
        try:
            step()
        except OSError as error:
            self._notices.tell("spool", f"{trouble} yet: {error}")
            return False
        return True

    def _settle_all(self, batch: _Chunk) -> bool:
        """Settle ``batch`` from its front, in parts where the sink does not take it whole.

        Returns:
            Whether every spool could note it.
        """
        verdicts: dict[str, Verdict] = {}
        stuck: set[Queue] = set()
        waiting = deque([batch])
        while waiting and not self.stopped:
            chunk = waiting.popleft()
            try:
                verdicts |= self._deliver([p for p in chunk if p.event.event_id not in verdicts])
            except BatchTooLargeError as error:
                waiting.extendleft(_halves(chunk, verdicts, str(error)))
            except BatchRefusedError as error:
                ids = {p.event.event_id for p in chunk if p.event.event_id not in verdicts}
                guilty = {
                    refusal.event_id: Verdict(refused=refusal.reason)
                    for refusal in error.guilty
                    if refusal.event_id in ids
                }
                verdicts |= guilty
                again = [chunk] if guilty else _halves(chunk, verdicts, error.reason)
                waiting.extendleft(again)
            else:
                self._settle(chunk, verdicts, stuck)
        return not stuck

    def _deliver(self, chunk: _Chunk) -> dict[str, Verdict]:
        """Return what the sink says of ``chunk``, where there is something to say."""
        if not chunk:
            return {}
        if self._attempts is not None:
            self._attempts.begin((p.queue.name, p.event.number) for p in chunk)
        outgoing = [self._outgoing(parcel) for parcel in chunk]
        try:
            delivered = self._sink.deliver(outgoing)
        except (BatchRefusedError, BatchTooLargeError):
            self._forget_attempt()
            raise
        except RetryLaterError as error:
            if error.nothing_arrived:
                self._forget_attempt()
            raise
        if delivered.wait_s:
            self.wait_until(self._clock.monotonic_ns() + int(delivered.wait_s * NS_PER_S))
        verdicts = {id: Verdict(late=late) for id, late in delivered.late.items()}
        for refusal in delivered.refused:
            late = delivered.late.get(refusal.event_id)
            verdicts[refusal.event_id] = Verdict(refused=refusal.reason, late=late)
        settled = verdicts.keys() | set(delivered.acknowledged)
        if unsettled := [event for event in outgoing if event.event_id not in settled]:
            raise RetryLaterError(f"the sink said nothing of {len(unsettled)} events")
        return verdicts

    def _outgoing(self, parcel: Parcel) -> Outgoing:
        event, attempts = parcel.event, self._attempts
        return Outgoing(
            event_id=event.event_id,
            body=event.body,
            quantity=event.quantity,
            attempted_at_ns=attempts.since(parcel.queue.name, event.number) if attempts else None,
        )

    def _forget_attempt(self) -> None:
        if self._attempts is not None:
            self._attempts.forget_last()

    def _settle(self, chunk: _Chunk, verdicts: dict[str, Verdict], stuck: set[Queue]) -> None:
        if self.stopped:
            return
        by_queue: dict[Queue, list[SpooledEvent]] = {}
        for parcel in chunk:
            by_queue.setdefault(parcel.queue, []).append(parcel.event)
        for queue, events in by_queue.items():
            # Of a spool that could not note its first part, no later part is noted either.
            if queue in stuck:
                continue
            try:
                removed = queue.settle(events, verdicts)
            except OSError as error:
                stuck.add(queue)
                self._stuck.add(queue.name)
                self._notices.tell("spool", f"the disk refuses the spool, events wait: {error}")
                continue
            self._stuck.discard(queue.name)
            if self._attempts is not None:
                self._attempts.settle(queue.name, events[-1].number)
            if removed:
                self._notices.tell("dead letters", "the oldest refused events were removed")
        reasons = [
            verdict.refused
            for parcel in chunk
            if (verdict := verdicts.get(parcel.event.event_id)) and verdict.refused is not None
        ]
        if reasons:
            self._notices.tell("refused", f"{len(reasons)} events were refused: {reasons[0]}")

    def _later(self, error: RetryLaterError) -> float:
        self._notices.tell("sink", f"the events are kept for later: {error}")
        self.key_refused = isinstance(error, AuthError)
        asked_s = AUTH_RETRY_S if self.key_refused else error.retry_after_s or 0.0
        # What the other side asked for also holds when a flush wakes us.
        self.wait_until(self._clock.monotonic_ns() + int(asked_s * NS_PER_S))
        return max(self._backoff.next_s(), asked_s)


def _halves(chunk: _Chunk, verdicts: dict[str, Verdict], reason: str) -> list[_Chunk]:
    """Return the two halves of ``chunk``, the later first, or condemn its only event."""
    if len(chunk) == 1:
        verdicts[chunk[0].event.event_id] = Verdict(refused=reason)
        return [chunk]
    middle = len(chunk) // 2
    return [chunk[middle:], chunk[:middle]]
