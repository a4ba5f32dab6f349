"""``/subscriptions/{id}/usage-history``: what each billing period came to."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from streamgauge.server.api.operation import Call, Operation
from streamgauge.server.api.paging import PageQuery
from streamgauge.server.billing.history import HistoryQuery, UsageHistory


class UsageHistoryQuery(PageQuery, frozen=True, kw_only=True):
    """Which periods; every parameter is nullable in Dodo's SDKs, and npm's sends null as empty."""

    EMPTY_IS_NULL: ClassVar[bool] = True

    start_date: datetime | None = None
    end_date: datetime | None = None
    meter_id: str | None = None


async def usage_history(call: Call) -> UsageHistory:
    """Return billing periods, newest first; what was accepted before the request is in them."""
    query: UsageHistoryQuery = call.query
    asked = HistoryQuery(
        start_date=query.start_date,
        end_date=query.end_date,
        meter_id=query.meter_id,
        page=query.page(),
    )
    await call.parts.pipeline.caught_up()
    read = call.parts.billing.usage_history
    return await call.run(read, call.caller.mode, call.path["subscription_id"], asked)


OPERATIONS = (
    Operation(
        method="GET",
        path="/subscriptions/{subscription_id}/usage-history",
        summary="List the billing periods of a subscription with their usage",
        tag="subscriptions",
        handler=usage_history,
        query=UsageHistoryQuery,
        response=UsageHistory,
    ),
)
