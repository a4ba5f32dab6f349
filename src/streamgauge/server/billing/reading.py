"""Exact usage and the events behind it, over several windows, up to a log position."""

from __future__ import annotations

from datetime import datetime

import msgspec

from streamgauge.server.metering.meter import Meter
from streamgauge.server.metering.model import adds
from streamgauge.server.metering.windows import Window
from streamgauge.server.rating.money import exact_text
from streamgauge.server.rating.rate import Usage
from streamgauge.server.store import EventStore, StoredEvent


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """What is read: one meter and customer, in some windows, between two log positions.

    Attributes:
        meter: Which events, and what they add.
        customer_id: Whose.
        windows: When; without overlap, in order.
        after: Only events after this log position; from the first one if None.
        up_to: Only events up to this log position; all of them if None.
    """

    meter: Meter
    customer_id: str
    windows: tuple[Window, ...]
    after: int | None = None
    up_to: int | None = None


class ExplainedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event behind a figure.

    Attributes:
        event_id: As it was sent.
        timestamp: When it was used.
        received_at: When the server took it.
        log_position: Its place in the log, as decimal text.
        units: What it brings, exact decimal text: the number that is added or compared, 1 for
            ``count`` and ``unique``; None if it is not counted.
        metadata: As it was sent.
    """

    event_id: str
    timestamp: datetime
    received_at: datetime
    log_position: str
    units: str | None
    metadata: dict[str, msgspec.Raw]


def read_usage(store: EventStore, span: Span) -> Usage:
    """Return what a meter says of a customer in all windows together.

    Raises:
        UnavailableError: The store cannot answer now.
    """
    usage = _usage(store, span, span.up_to)
    return usage if span.after is None else usage.minus(_usage(store, span, span.after))


def read_events(store: EventStore, span: Span, *, limit: int, offset: int) -> list[ExplainedEvent]:
    """Return the events that a meter takes, newest first, from ``offset`` on.

    Raises:
        UnavailableError: The store cannot answer now.
    """
    found = list[ExplainedEvent]()
    for window in reversed(span.windows):
        part = store.events(
            business_id=span.meter.business_id,
            mode=span.meter.mode,
            customer_id=span.customer_id,
            meter=span.meter,
            start=window.start,
            end=window.end,
            after=span.after,
            up_to=span.up_to,
            limit=limit - len(found),
            offset=offset,
        )
        found += [_explained(span.meter, event) for event in part]
        if len(found) == limit:
            break
        # A window that lies wholly before the offset still uses up its part of it.
        offset = 0 if part or not offset else offset - _taken(store, span, window)
    return found


def _taken(store: EventStore, span: Span, window: Window) -> int:
    one = Span(
        meter=span.meter,
        customer_id=span.customer_id,
        windows=(window,),
        after=span.after,
        up_to=span.up_to,
    )
    usage = read_usage(store, one)
    return usage.events + usage.not_counted


def _usage(store: EventStore, span: Span, up_to: int | None) -> Usage:
    if not span.windows:
        return Usage()
    # All windows at once: a maximum, or what came last, is not the sum of its parts.
    rows = store.usage(
        span.meter,
        business_id=span.meter.business_id,
        mode=span.meter.mode,
        start=span.windows[0].start,
        end=span.windows[-1].end,
        within=span.windows,
        customer_id=span.customer_id,
        up_to=up_to,
    )
    for row in rows:
        return Usage(quantity=row.quantity, events=row.events, not_counted=row.not_counted)
    return Usage()


def _explained(meter: Meter, event: StoredEvent) -> ExplainedEvent:
    added = adds(meter, event.metadata)
    return ExplainedEvent(
        event_id=event.event_id,
        timestamp=event.timestamp,
        received_at=event.received_at,
        log_position=str(event.log_position),
        units=None if added is None else exact_text(added),
        metadata={key: msgspec.Raw(text.encode()) for key, text in event.metadata.items()},
    )
