"""The agreement between the deliverer of a spool and whatever takes its events.

StreamgaugeError
|-- RetryLaterError       nothing is known to be settled: the same batch again, later
|   `-- AuthError         the key was not accepted: keep everything, try at most once a minute
|-- BatchTooLargeError    halve the batch
`-- BatchRefusedError     the batch will never be taken as it is: take out the guilty, or bisect
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from streamgauge.core.errors import StreamgaugeError


class Outgoing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event on its way out.

    Attributes:
        event_id: Its id, the same on every attempt.
        body: The event as one JSON object (see ``core.events.encode_event``).
        quantity: Its bytes; None for an event without quantity.
        attempted_at_ns: When the earliest attempt began whose outcome is not known; None: none.
    """

    event_id: str
    body: bytes
    quantity: int | None
    attempted_at_ns: int | None = None


class Late(StrEnum):
    """What became of an event that came later than the other side takes its timestamp."""

    RESTAMPED = "restamped"
    CROSSED = "crossed"
    """Restamped, and the new timestamp is of another UTC day."""
    HELD = "held"


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a sink says of one event.

    Attributes:
        refused: Why it will never be taken; None: it was taken.
        late: What became of it if it came late; None: it did not.
    """

    refused: str | None = None
    late: Late | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event that a sink will never take, and why."""

    event_id: str
    reason: str


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """A settled batch: every event of it is in one of the two.

    Attributes:
        acknowledged: Ids that the sink now keeps, in the order given.
        refused: Events that it will never take.
        late: Those of either that came late, by event id.
        wait_s: How long the other side wants no more, in seconds.
    """

    acknowledged: tuple[str, ...]
    refused: tuple[Refusal, ...] = ()
    late: Mapping[str, Late] = {}
    wait_s: float = 0.0


class Sink(Protocol):
    """Takes batches of events; used by one thread at a time.

    Of all processes that share a spool directory and have a sink with the same ``destination``,
    one delivers for all. A sink with an attribute ``is_private`` that is true stays out of this:
    what it takes stays in its process, so every process delivers its own. One with ``asks_first``
    is told by ``Outgoing.attempted_at_ns`` which events may have arrived before.
    """

    @property
    def destination(self) -> str:
        """Return where events go: address, mode and account, without any key.

        A spool remembers it and is drained only to the same destination.
        """
        ...

    def deliver(self, batch: Sequence[Outgoing]) -> Delivered:
        """Settle the whole batch, or raise.

        Raises:
            RetryLaterError: The same batch may be taken later.
            AuthError: The same batch may be taken with another key.
            BatchTooLargeError: A smaller batch may be taken.
            BatchRefusedError: It is never taken while the guilty are in it.
        """
        ...

    def close(self) -> None:
        """Let go of connections and files; a sink is not used after it."""
        ...


class RetryLaterError(StreamgaugeError):
    """The batch may be taken later, as it is; part of it may have arrived.

    Attributes:
        retry_after_s: When the other side asked to be tried again, in seconds; None: it did not.
        nothing_arrived: Whether it is certain that nothing of the batch arrived.
    """

    code = "RETRY_LATER"

    def __init__(
        self, message: str, retry_after_s: float | None = None, *, nothing_arrived: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.nothing_arrived = nothing_arrived


class AuthError(RetryLaterError):
    """The key is missing, wrong, revoked or may not write."""

    code = "UNAUTHORIZED"


class BatchTooLargeError(StreamgaugeError):
    """The batch is larger than the other side takes."""

    code = "PAYLOAD_TOO_LARGE"


class BatchRefusedError(StreamgaugeError):
    """The batch is never taken as it is; nothing of it was kept.

    Attributes:
        reason: What the other side said.
        guilty: The events it named; empty: it named none.
    """

    code = "BATCH_REFUSED"

    def __init__(self, reason: str, guilty: tuple[Refusal, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.guilty = guilty
