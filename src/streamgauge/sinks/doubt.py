"""Events that may have arrived long ago: the other side is asked before they are sent again.

Dodo Payments ignores an id that it has seen, and does not say for how long. Within the hour in
which it takes a timestamp this is relied on, and beyond it is asked, ``GET /events/{id}``. So it is
for an event that is about to be held back, which is never sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Final
from urllib.parse import quote

from streamgauge.core.clock import NS_PER_S
from streamgauge.core.limits import ASKED_AT_ONCE_MAX, LATE_S_MAX
from streamgauge.sinks.base import BatchTooLargeError, Late, Outgoing
from streamgauge.sinks.late import arrived_as
from streamgauge.sinks.transport import Answer

_PATH: Final = "/events/"
_FOUND: Final = 200
# 404 is the answer; an id that it calls malformed cannot be there either.
_ABSENT: Final = frozenset({400, 404, 422})


class Doubts:
    """Asks for events whose outcome is unknown for long, each once.

    Args:
        ask: Gets a path; returns the answer, or raises what it means for delivery.
    """

    def __init__(self, ask: Callable[[str], Answer]) -> None:
        self._ask = ask
        self._absent_at_ns: dict[str, int] = {}
        self._found: dict[str, Late | None] = {}

    def settle(
        self, batch: Sequence[Outgoing], now_ns: int, held: Container[str] = ()
    ) -> dict[str, Late | None]:
        """Return those of ``batch`` that are there already, with what became of their timestamp.

        Args:
            batch: What is to be delivered.
            now_ns: The time.
            held: The ids of those that would not be sent, but held back.

        Raises:
            BatchTooLargeError: Too many would have to be asked for at once.
            RetryLaterError: The other side does not answer; what it said so far is kept.
        """
        doubtful = [event for event in batch if self._is_doubtful(event, now_ns, held)]
        if len(doubtful) > ASKED_AT_ONCE_MAX:
            raise BatchTooLargeError(f"{len(doubtful)} events may have arrived before")
        for event in doubtful:
            answer = self._ask(_PATH + quote(event.event_id, safe=""))
            if answer.status == _FOUND:
                self._found[event.event_id] = arrived_as(answer, event)
            else:
                self._absent_at_ns[event.event_id] = now_ns
        return {
            event.event_id: self._found[event.event_id]
            for event in batch
            if event.event_id in self._found
        }

    def forget(self, batch: Sequence[Outgoing]) -> None:
        """Note that these are settled."""
        for event in batch:
            self._found.pop(event.event_id, None)
            self._absent_at_ns.pop(event.event_id, None)

    def _is_doubtful(self, event: Outgoing, now_ns: int, held: Container[str]) -> bool:
        if event.attempted_at_ns is None or event.event_id in self._found:
            return False
        if event.event_id in held:
            return event.event_id not in self._absent_at_ns
        since_ns = max(event.attempted_at_ns, self._absent_at_ns.get(event.event_id, 0))
        return abs(now_ns - since_ns) > LATE_S_MAX * NS_PER_S


def is_answered(answer: Answer) -> bool:
    """Return whether the other side said if it has the event."""
    return answer.status == _FOUND or answer.status in _ABSENT
