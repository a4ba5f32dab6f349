"""What is told of a playback session when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from streamgauge.streams.layers import How, Reading

_CERTAINTY: Final = (How.MEASURED, How.COMPUTED, How.ESTIMATED)
_US_DIGITS: Final = 6


class EndedBy(StrEnum):
    """Why a session is over."""

    IDLE = "idle"
    """Nothing was requested for ``idle_timeout_s``."""
    CLOSE = "close"
    """The program has closed the book."""
    OVERFLOW = "overflow"
    """There were more than ``sessions_max``; it was idle longest."""


class PlaybackSession(msgspec.Struct, frozen=True, kw_only=True):
    """What one player fetched of one title, or whatever the key says.

    Attributes:
        id: The session's; equal to what ``id_of`` gave for its events.
        part: From 1; figures that came after a part was told are told as a part more.
        customer_id: Who pays; None: nobody was named.
        key: The application's.
        started_at_ns: When its first request began, in nanoseconds since 1970.
        ended_at_ns: When the application was done with the last.
        ended_by: Why it is over.
        requests: How many responses it has.
        incomplete_requests: Those of them that did not arrive whole.
        media_us: Microseconds of media in the segments that arrived whole, as manifests have it;
            of the kind (video, audio) that has most, since players fetch kinds beside each other.
        quality_bytes: Payload bytes by quality; without those of unknown quality.
        payload: What the application sent.
        http: With heads and framing.
        tls: With TLS records.
        wire: With TCP and IP headers, acknowledgements and retransmissions.
        wire_once: The same without retransmitted bytes.
    """

    id: str
    part: int
    customer_id: str | None
    key: str
    started_at_ns: int
    ended_at_ns: int
    ended_by: EndedBy
    requests: int
    incomplete_requests: int
    media_us: int
    quality_bytes: Mapping[str, int]
    payload: Reading
    http: Reading
    tls: Reading
    wire: Reading
    wire_once: Reading

    @property
    def media_s(self) -> Decimal:
        """Return the media seconds, exact to the microsecond."""
        return Decimal(self.media_us).scaleb(-_US_DIGITS)

    @property
    def quality(self) -> str | None:
        """Return the quality that most bytes have."""
        return max(self.quality_bytes, key=self.quality_bytes.__getitem__, default=None)


def sum_of(one: Reading, other: Reading) -> Reading:
    """Return the sum of two readings, as certain as the less certain one."""
    how = max(one.how, other.how, key=_CERTAINTY.index)
    return Reading(one.bytes + other.bytes, how, one.final and other.final)
