"""Invoices in the browser: previews, final ones, and what came too late for them."""

from __future__ import annotations

from functools import partial
from typing import Final

from starlette.responses import Response

from streamgauge.core.errors import NotFoundError
from streamgauge.server.billing import Whose
from streamgauge.server.catalog.texts import EVERYTHING
from streamgauge.server.pages.web import Visit
from streamgauge.server.rating.invoice import Invoice
from streamgauge.server.rating.money import format_money

FINALS_SHOWN: Final = 12


async def show(visit: Visit) -> Response:
    """Preview what a customer owes for the running periods, and list the final invoices."""
    customer_id = visit.request.query_params.get("customer_id", "")
    invoices = await _preview(visit, customer_id) if customer_id else []
    finals = await visit.parts.run(_finals, visit, customer_id) if customer_id else []
    return visit.page(
        "invoices.html",
        customer_id=customer_id,
        invoices=invoices or [],
        finals=finals,
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


def _finals(visit: Visit, customer_id: str) -> list[Invoice]:
    """Return the newest final invoices, with the usage that came after their cuts."""
    billing, mode = visit.parts.billing, visit.session.mode
    kept = billing.finals(mode, customer_id=customer_id, page=EVERYTHING)[-FINALS_SHOWN:]
    return [billing.get(mode, invoice.id) for invoice in reversed(kept) if invoice.id is not None]
