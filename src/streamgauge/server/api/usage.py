"""``/v1/usage``: exact quantities of a meter, by customer, metadata and time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Final

import msgspec

from streamgauge.core.clock import utc
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.limits import USAGE_ROWS_MAX
from streamgauge.server.api.operation import Call, Operation
from streamgauge.server.api.paging import PageQuery
from streamgauge.server.billing import Explanation
from streamgauge.server.billing.periods import CALENDAR_MONTHS, period_at
from streamgauge.server.billing.reading import Span
from streamgauge.server.metering.meter import ADDITIVE, describe_meter
from streamgauge.server.metering.windows import Window, check_window
from streamgauge.server.rating.money import exact_text
from streamgauge.server.rating.rate import Usage
from streamgauge.server.store import Bucket, UsageRow

CUSTOMER: Final = "customer_id"


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked; without ``start`` and ``end`` the running UTC calendar month.

    Attributes:
        meter_id: Which meter.
        customer_id: Only this customer.
        start: On a whole UTC minute; included.
        end: On a whole UTC minute; excluded.
        group_by: Metadata keys to tell apart, and ``customer_id``; repeat it for several.
        bucket: How to cut time.
        top: Only so many customers, those with the most; groups by ``customer_id``.
    """

    meter_id: str
    customer_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    group_by: tuple[str, ...] = ()
    bucket: Bucket | None = None
    top: int | None = None

    def window(self, now: datetime) -> Window:
        """Return the window asked for."""
        month = period_at(CALENDAR_MONTHS, now)
        return check_window(self.start or month.start, self.end or month.end)


class UsageItem(msgspec.Struct, frozen=True, kw_only=True):
    """Usage of one group.

    Attributes:
        customer_id: Only when grouped by it.
        group: Metadata values by key; null where events have no such key.
        bucket: Start of the bucket.
        quantity: Raw units, exact decimal text; an average that is no decimal is ``a/b``.
        events: How many events made it.
        not_counted: How many more were taken but hold nothing to count.
    """

    customer_id: str | None
    group: dict[str, msgspec.Raw]
    bucket: datetime | None
    quantity: str
    events: int
    not_counted: int


class UsageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a meter says of a window.

    Attributes:
        meter_id: Which meter.
        name: The meter's.
        measures: What it takes and adds, for people.
        measurement_unit: The meter's label.
        start: Included.
        end: Excluded.
        quantity: Of everything asked for together, with ``top`` of all customers; exact decimal
            text.
        events: As ``quantity``.
        not_counted: As ``quantity``.
        items: By customer, group and bucket; with ``top`` the largest first.
    """

    meter_id: str
    name: str
    measures: str
    measurement_unit: str
    start: datetime
    end: datetime
    quantity: str
    events: int
    not_counted: int
    items: list[UsageItem]


class UsageEventsQuery(PageQuery, frozen=True, kw_only=True):
    """Which events to explain: those that make the usage of one customer."""

    meter_id: str
    customer_id: str
    start: datetime | None = None
    end: datetime | None = None


async def usage(call: Call) -> UsageAnswer:
    """Return exact usage."""
    query: UsageQuery = call.query
    _check_top(query)
    await call.parts.pipeline.caught_up()
    return await call.run(_read, call, query)


async def explain(call: Call) -> Explanation:
    """Return the events behind the usage of one customer; over all pages they add up to it."""
    query: UsageEventsQuery = call.query
    cut = await call.parts.pipeline.caught_up()
    whole = UsageQuery(meter_id=query.meter_id, start=query.start, end=query.end)
    window = whole.window(utc(call.parts.clock.time_ns()))

    def read() -> Explanation:
        meter = call.parts.catalog.meters.get(call.caller.mode, query.meter_id)
        span = Span(meter=meter, customer_id=query.customer_id, windows=(window,), up_to=cut)
        return call.parts.billing.explain_span(describe_meter(meter), span, query.page())

    return await call.run(read)


def _read(call: Call, query: UsageQuery) -> UsageAnswer:
    meter = call.parts.catalog.meters.get(call.caller.mode, query.meter_id)
    window = query.window(utc(call.parts.clock.time_ns()))
    read = partial(
        call.parts.store.usage,
        meter,
        business_id=call.caller.business_id,
        mode=call.caller.mode,
        start=window.start,
        end=window.end,
        customer_id=query.customer_id,
    )
    rows = read(
        by_customer=CUSTOMER in query.group_by or query.top is not None,
        group_by=[key for key in query.group_by if key != CUSTOMER],
        bucket=query.bucket,
        top=query.top,
    )
    if len(rows) > USAGE_ROWS_MAX:
        rule = f"give at most {USAGE_ROWS_MAX} items; narrow the window, the bucket or the groups"
        raise InvalidInputError("group_by", len(rows), rule)
    # Items add up to the whole only where quantities do, and where none is left out.
    adds_up = meter.aggregation.type in ADDITIVE and query.top is None
    total = _sum(rows if adds_up else read(by_customer=False))
    return UsageAnswer(
        meter_id=meter.id,
        name=meter.name,
        measures=describe_meter(meter),
        measurement_unit=meter.measurement_unit,
        start=window.start,
        end=window.end,
        quantity=exact_text(total.quantity),
        events=total.events,
        not_counted=total.not_counted,
        items=[_item(row) for row in rows],
    )


def _check_top(query: UsageQuery) -> None:
    if query.top is None:
        return
    if not 1 <= query.top <= USAGE_ROWS_MAX:
        raise InvalidInputError("top", query.top, f"be from 1 to {USAGE_ROWS_MAX}")
    if query.bucket is not None or any(key != CUSTOMER for key in query.group_by):
        raise InvalidInputError("top", query.top, "stand without bucket and metadata groups")


def _item(row: UsageRow) -> UsageItem:
    return UsageItem(
        customer_id=row.customer_id or None,
        group={key: msgspec.Raw((text or "null").encode()) for key, text in row.group.items()},
        bucket=row.bucket,
        quantity=exact_text(row.quantity),
        events=row.events,
        not_counted=row.not_counted,
    )


def _sum(rows: Iterable[UsageRow]) -> Usage:
    total = Usage()
    for row in rows:
        part = Usage(quantity=row.quantity, events=row.events, not_counted=row.not_counted)
        total = total.plus(part)
    return total


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/usage",
        summary="Ask what a meter says, by customer, metadata and time",
        tag="usage",
        handler=usage,
        query=UsageQuery,
        response=UsageAnswer,
    ),
    Operation(
        method="GET",
        path="/v1/usage/events",
        summary="Explain the usage of a customer by its events",
        tag="usage",
        handler=explain,
        query=UsageEventsQuery,
        response=Explanation,
    ),
)
