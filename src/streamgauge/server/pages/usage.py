"""The first page: what every customer used this month, and the latest events."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec
from starlette.responses import Response

from streamgauge.core.clock import iso, utc
from streamgauge.core.metadata import encode
from streamgauge.core.units import format_bytes
from streamgauge.server.billing.periods import CALENDAR_MONTHS, period_at
from streamgauge.server.metering.meter import Meter
from streamgauge.server.metering.windows import Window
from streamgauge.server.pages.web import Visit
from streamgauge.server.rating.money import exact_text
from streamgauge.server.store.rows import UsageRow

EVENTS_SHOWN: Final = 20
USAGE_ROWS_SHOWN: Final = 200


class UsageLine(msgspec.Struct, frozen=True, kw_only=True):
    """One customer's quantity of one meter, as the page shows it."""

    meter: str
    customer_id: str
    quantity: str
    readable: str
    events: int
    not_counted: int


class EventLine(msgspec.Struct, frozen=True, kw_only=True):
    """An event, as the page shows it."""

    timestamp: str
    event_name: str
    customer_id: str
    metadata: str
    event_id: str


async def show(visit: Visit) -> Response:
    """Show usage and events, which refresh themselves."""
    return await _answer(visit, "usage.html")


async def tables(visit: Visit) -> Response:
    """Return the tables alone, for the refresh."""
    return await _answer(visit, "usage_tables.html")


async def _answer(visit: Visit, template: str) -> Response:
    month = period_at(CALENDAR_MONTHS, utc(visit.parts.clock.time_ns()))
    return visit.page(
        template,
        usage=await visit.parts.run(_usage, visit, month),
        events=await visit.parts.run(_events, visit),
        start=f"{month.start:%Y-%m-%d}",
        end=f"{month.end:%Y-%m-%d}",
    )


def _usage(visit: Visit, month: Window) -> list[UsageLine]:
    business_id, mode = visit.scope
    lines: list[UsageLine] = []
    for meter in visit.parts.catalog.meters.list(mode, archived=False):
        read = partial(visit.parts.store.usage, meter, business_id=business_id, mode=mode)
        rows = read(start=month.start, end=month.end, top=USAGE_ROWS_SHOWN)
        lines += [_line(meter, row) for row in rows]
    return lines[:USAGE_ROWS_SHOWN]


def _line(meter: Meter, row: UsageRow) -> UsageLine:
    counts_bytes = meter.measurement_unit in {"byte", "bytes"}
    return UsageLine(
        meter=meter.name,
        customer_id=row.customer_id,
        quantity=exact_text(row.quantity),
        readable=format_bytes(int(row.quantity)) if counts_bytes else meter.measurement_unit,
        events=row.events,
        not_counted=row.not_counted,
    )


def _events(visit: Visit) -> list[EventLine]:
    business_id, mode = visit.scope
    found = visit.parts.store.events(business_id=business_id, mode=mode, limit=EVENTS_SHOWN)
    return [
        EventLine(
            timestamp=iso(event.timestamp),
            event_name=event.event_name,
            customer_id=event.customer_id,
            metadata=encode(event.metadata),
            event_id=event.event_id,
        )
        for event in found
    ]
