"""Events that the other side would refuse for their timestamp: stamped anew on the wire, or held.

Dodo Payments takes timestamps of the last hour and of the next five minutes. A window that was
measured earlier, because the network was away, is sent under the oldest timestamp that is taken,
with the measured one in its metadata; the spool keeps what was measured.
"""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

import msgspec

from streamgauge.core.clock import NS_PER_S, iso, to_ns, utc
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.events import UsageEvent, encode_event
from streamgauge.core.limits import LATE_S_MAX, METADATA_PAIRS_MAX, SKEW_S_MIN, STAMP_AHEAD_S_MAX
from streamgauge.sinks.base import Late, Outgoing
from streamgauge.sinks.transport import Answer

MEASURED_AT_KEY: Final = "sg_measured_at"
HELD_REASON: Final = "held: measured at {}, and only timestamps of the last hour are taken"


class LatePolicy(StrEnum):
    """What to do with an event whose timestamp the other side does not take any more."""

    RESTAMP = "restamp"
    HOLD = "hold"


class Dressed(msgspec.Struct, frozen=True):
    """An event as it goes on the wire.

    Attributes:
        body: Its JSON.
        late: What was done to it; None: nothing.
        measured: The measured timestamp as text, if something was.
    """

    body: bytes
    late: Late | None = None
    measured: str = ""


class _Stamp(msgspec.Struct):
    timestamp: datetime


class _Wire(msgspec.Struct):
    event_id: str
    customer_id: str
    event_name: str
    timestamp: datetime
    metadata: dict[str, msgspec.Raw] = {}


_STAMP: Final = msgspec.json.Decoder(_Stamp)
_WIRE: Final = msgspec.json.Decoder(_Wire)


def check_late(value: object) -> LatePolicy | None:
    """Return ``value`` as a policy; None stays None.

    Raises:
        InvalidInputError: It is none.
    """
    if value is None:
        return None
    try:
        return LatePolicy(str(value))
    except ValueError:
        raise InvalidInputError("late", value, "be 'restamp' or 'hold'") from None


def dressed(event: Outgoing, policy: LatePolicy | None, now_ns: int) -> Dressed:
    """Return what to send of ``event`` at the other side's time ``now_ns``."""
    if policy is None:
        return Dressed(event.body)
    at = _STAMP.decode(event.body).timestamp
    at_ns = to_ns(at)
    earliest_ns, latest_ns = now_ns - LATE_S_MAX * NS_PER_S, now_ns + STAMP_AHEAD_S_MAX * NS_PER_S
    if earliest_ns <= at_ns <= latest_ns:
        return Dressed(event.body)
    if policy is LatePolicy.HOLD:
        return Dressed(event.body, Late.HELD, iso(at))
    stamp = utc(min(max(at_ns, earliest_ns), latest_ns))
    wire = _WIRE.decode(event.body)
    texts = {key: bytes(raw).decode() for key, raw in wire.metadata.items()}
    # Where there is no room for one more pair, the bytes matter more than when they were measured.
    if MEASURED_AT_KEY not in texts and len(texts) < METADATA_PAIRS_MAX:
        texts[MEASURED_AT_KEY] = msgspec.json.encode(iso(at)).decode()
    body = encode_event(
        UsageEvent(
            event_id=wire.event_id,
            customer_id=wire.customer_id,
            event_name=wire.event_name,
            timestamp=stamp,
            metadata=texts,
        )
    )
    return Dressed(body, moved(at, stamp), iso(at))


def is_held(event: Outgoing, policy: LatePolicy | None, now_ns: int) -> bool:
    """Return whether ``policy`` holds the event back at the other side's time ``now_ns``."""
    return policy is LatePolicy.HOLD and dressed(event, policy, now_ns).late is Late.HELD


def moved(measured: datetime, stamped: datetime) -> Late | None:
    """Return what it means that an event counts at another time than measured."""
    at, to = utc(to_ns(measured)), utc(to_ns(stamped))
    if at == to:
        return None
    # Every billing period that ends at midnight UTC ends between two days; others may not.
    return Late.RESTAMPED if at.date() == to.date() else Late.CROSSED


def arrived_as(answer: Answer, event: Outgoing) -> Late | None:
    """Return what became of an event that the other side already has, by what it says of it."""
    try:
        found = _STAMP.decode(answer.body).timestamp
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return moved(_STAMP.decode(event.body).timestamp, found)


class Skew:
    """How far the other side's clock is from ours, by the dates of its answers."""

    def __init__(self) -> None:
        self.ns = 0

    def learn(self, answer: Answer, now_ns: int) -> bool:
        """Take the date of an answer; return whether it changes what is late."""
        try:
            there_ns = to_ns(parsedate_to_datetime(answer.headers.get("date", "")))
        except (ValueError, TypeError, OverflowError):
            return False
        before, ahead_ns = self.ns, there_ns - now_ns
        # A date has no fractions, and an answer takes its time.
        self.ns = ahead_ns if abs(ahead_ns) >= SKEW_S_MIN * NS_PER_S else 0
        return abs(self.ns - before) >= SKEW_S_MIN * NS_PER_S
