"""``/v1/invoices``: what a customer owes, kept and explained."""

from __future__ import annotations

import re
from datetime import datetime
from functools import partial
from typing import Final

import msgspec

from streamgauge.core.clock import utc
from streamgauge.core.errors import NotFoundError
from streamgauge.server.api.operation import Call, Operation
from streamgauge.server.api.paging import PageQuery
from streamgauge.server.billing import Explanation, Whose
from streamgauge.server.rating.invoice import Invoice, InvoiceStatus

_LINE_NUMBER: Final = re.compile(r"[0-9]{1,9}")


class InvoiceList(msgspec.Struct, frozen=True, kw_only=True):
    """Invoices: one per subscription or default plan of the customer.

    Attributes:
        items: The invoices.
        note: Why there is none, if there is none.
    """

    items: list[Invoice]
    note: str | None = None


class InvoiceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A final invoice in a list; get it by its id for its lines and what came too late for it."""

    id: str | None
    status: InvoiceStatus
    customer_id: str
    subscription_id: str | None
    product_id: str
    product_name: str
    currency: str
    start: datetime
    end: datetime
    total: int
    total_text: str
    created_at: datetime


class InvoicePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of final invoices, oldest first."""

    items: list[InvoiceSummary]


class InvoiceQuery(PageQuery, frozen=True, kw_only=True):
    """Which final invoices."""

    customer_id: str | None = None


class LineQuery(PageQuery, frozen=True, kw_only=True):
    """Which events of a line: those in it, or with ``late`` those that came after its cut."""

    late: bool = False


async def preview(call: Call) -> InvoiceList:
    """Return what is owed so far; a period that was finalised is answered with its invoice."""
    return await _drawn(call, call.query or call.body, keep=False)


async def finalise(call: Call) -> InvoiceList:
    """Keep the invoices of a period that has ended; again gives the same ones."""
    return await _drawn(call, call.body, keep=True)


async def list_invoices(call: Call) -> InvoicePage:
    """Return a page of final invoices, oldest first."""
    query: InvoiceQuery = call.query
    read = partial(
        call.parts.billing.finals,
        call.caller.mode,
        customer_id=query.customer_id,
        page=query.page(),
    )
    return InvoicePage(items=[_summary(invoice) for invoice in await call.run(read)])


async def get(call: Call) -> Invoice:
    """Return a final invoice and, beside it, usage that arrived after its cut."""
    await call.parts.pipeline.caught_up()
    return await call.run(call.parts.billing.get, call.caller.mode, call.path["id"])


async def explain(call: Call) -> Explanation:
    """Return the events behind a line; over all pages they add up to it."""
    query: LineQuery = call.query
    id, number = call.path["id"], call.path["number"]
    if _LINE_NUMBER.fullmatch(number) is None:
        raise NotFoundError("invoice line", f"{id}/{number}")
    await call.parts.pipeline.caught_up()
    read = partial(
        call.parts.billing.explain,
        call.caller.mode,
        id,
        int(number),
        query.page(),
        late=query.late,
    )
    return await call.run(read)


async def _drawn(call: Call, whose: Whose, *, keep: bool) -> InvoiceList:
    cut = await call.parts.pipeline.caught_up()
    billing = call.parts.billing
    draw = billing.finalise if keep else billing.preview
    invoices = await call.run(partial(draw, call.caller.mode, whose, cut=cut))
    return InvoiceList(items=invoices, note=None if invoices else _why_none(call, keep=keep))


def _why_none(call: Call, *, keep: bool) -> str:
    now = utc(call.parts.clock.time_ns()).isoformat(timespec="minutes")
    what = "has a period that ended by then" if keep else "bills this customer then"
    return f"As of {now}: no subscription and no default plan {what}."


def _summary(invoice: Invoice) -> InvoiceSummary:
    return InvoiceSummary(
        id=invoice.id,
        status=invoice.status,
        customer_id=invoice.customer_id,
        subscription_id=invoice.subscription_id,
        product_id=invoice.product_id,
        product_name=invoice.product_name,
        currency=invoice.currency,
        start=invoice.start,
        end=invoice.end,
        total=invoice.total,
        total_text=invoice.total_text,
        created_at=invoice.created_at,
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/invoices/preview",
        summary="Preview what a customer or a subscription owes",
        tag="invoices",
        handler=preview,
        query=Whose,
        response=InvoiceList,
    ),
    Operation(
        method="POST",
        path="/v1/invoices/preview",
        summary="Preview what a customer or a subscription owes",
        tag="invoices",
        handler=preview,
        body=Whose,
        response=InvoiceList,
    ),
    Operation(
        method="POST",
        path="/v1/invoices/finalise",
        summary="Keep the invoices of a period that has ended",
        tag="invoices",
        handler=finalise,
        body=Whose,
        response=InvoiceList,
        needs="write",
    ),
    Operation(
        method="GET",
        path="/v1/invoices",
        summary="List final invoices",
        tag="invoices",
        handler=list_invoices,
        query=InvoiceQuery,
        response=InvoicePage,
    ),
    Operation(
        method="GET",
        path="/v1/invoices/{id}",
        summary="Get a final invoice",
        tag="invoices",
        handler=get,
        response=Invoice,
    ),
    Operation(
        method="GET",
        path="/v1/invoices/{id}/lines/{number}/events",
        summary="Explain a line of a final invoice by its events",
        tag="invoices",
        handler=explain,
        query=LineQuery,
        response=Explanation,
    ),
)
