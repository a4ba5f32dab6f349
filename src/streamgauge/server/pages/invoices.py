"""Invoices in the browser: a customer's preview, line by line."""

from __future__ import annotations

from functools import partial

from starlette.responses import Response

from streamgauge.core.errors import NotFoundError
from streamgauge.server.billing import Whose
from streamgauge.server.pages.web import Visit
from streamgauge.server.rating.invoice import Invoice
from streamgauge.server.rating.money import format_money


async def show(visit: Visit) -> Response:
    """Preview what a customer owes for the running periods."""
    customer_id = visit.request.query_params.get("customer_id", "")
    invoices = await _preview(visit, customer_id) if customer_id else []
    return visit.page(
        "invoices.html",
        customer_id=customer_id,
        invoices=invoices or [],
        unknown=invoices is None,
        money=format_money,
    )


async def _preview(visit: Visit, customer_id: str) -> list[Invoice] | None:
    """Return the invoices, or None for a customer that nothing knows."""
    cut = await visit.parts.pipeline.caught_up()
    whose = Whose(customer_id=customer_id)
    draw = partial(visit.parts.billing.preview, visit.session.mode, whose, cut=cut)
    try:
        return await visit.parts.run(draw)
    except NotFoundError:
        return None
