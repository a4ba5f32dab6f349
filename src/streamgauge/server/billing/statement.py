"""From an account, a period and a cut to an invoice: the same whenever it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from streamgauge.server.billing.accounts import Account
from streamgauge.server.billing.reading import Span, read_usage
from streamgauge.server.catalog import Catalog
from streamgauge.server.metering.meter import Meter
from streamgauge.server.metering.windows import Window
from streamgauge.server.rating.invoice import (
    Invoice,
    InvoiceLine,
    InvoiceStatus,
    LateUsage,
    fixed_line,
    late_usage,
    usage_line,
)
from streamgauge.server.rating.money import format_money
from streamgauge.server.rating.price import MeterPrice
from streamgauge.server.rating.rate import check_ratable
from streamgauge.server.store import EventStore


class Statements:
    """Draws invoices from the catalog and the store; writes nothing."""

    def __init__(self, catalog: Catalog, store: EventStore) -> None:
        self._catalog = catalog
        self._store = store

    def draw(
        self, mode: str, account: Account, period: Window, *, cut: int, now: datetime
    ) -> Invoice:
        """Return what ``account`` owes for ``period``, counting events up to log position ``cut``.

        Raises:
            UnsupportedError: A price or a meter cannot be evaluated yet.
            UnavailableError: The store cannot answer now.
        """
        check_ratable(account.price)
        lines = self._lines(mode, account, period, cut)
        total = sum(line.amount for line in lines)
        known = self._catalog.customers.find(mode, account.customer_id) is not None
        return Invoice(
            id=None,
            status=InvoiceStatus.PREVIEW,
            business_id=self._catalog.business_id,
            mode=mode,
            customer_id=account.customer_id,
            customer_known=known,
            subscription_id=account.subscription_id,
            product_id=account.product_id,
            product_name=account.product_name,
            currency=account.price.currency,
            start=period.start,
            end=period.end,
            cut=str(cut),
            lines=tuple(lines),
            total=total,
            total_text=format_money(total, account.price.currency),
            notes=_notes(account, period, known, lines, now),
            created_at=now,
        )

    def late(self, invoice: Invoice) -> tuple[LateUsage, ...]:
        """Return the usage of a final invoice's windows that arrived after its cut.

        Raises:
            UnavailableError: The store cannot answer now.
        """
        found = []
        for line in invoice.lines:
            if line.meter_id is not None:
                span = self.span(invoice, line)
                now = read_usage(self._store, msgspec.structs.replace(span, up_to=None))
                if now != line.usage:
                    found.append(late_usage(line, now))
        return tuple(found)

    def span(self, invoice: Invoice, line: InvoiceLine) -> Span:
        """Return which events made a line that has a meter."""
        assert line.meter_id is not None, "a fixed price has no events"
        return Span(
            meter=self._catalog.meters.get(invoice.mode, line.meter_id),
            customer_id=invoice.customer_id,
            windows=line.windows,
            up_to=int(invoice.cut),
        )

    def _lines(self, mode: str, account: Account, period: Window, cut: int) -> list[InvoiceLine]:
        lines = [
            self._line(self._catalog.meters.get(mode, price.meter_id), price, account, period, cut)
            for price in account.price.meters or ()
        ]
        if account.price.fixed_price:
            lines.append(fixed_line(account.price.fixed_price, account.price.currency))
        return [
            msgspec.structs.replace(line, number=number)
            for number, line in enumerate(lines, start=1)
        ]

    def _line(
        self, meter: Meter, price: MeterPrice, account: Account, period: Window, cut: int
    ) -> InvoiceLine:
        windows = account.windows(meter.id, period)
        span = Span(meter=meter, customer_id=account.customer_id, windows=windows, up_to=cut)
        usage = read_usage(self._store, span)
        return usage_line(meter, price, usage, currency=account.price.currency, windows=windows)


def _notes(
    account: Account, period: Window, known: bool, lines: Sequence[InvoiceLine], now: datetime
) -> tuple[str, ...]:
    notes = []
    if period.end > now:
        notes.append("The period is still running; this is what is owed so far.")
    if account.subscription_id is None:
        notes.append("Billed by the default plan, by UTC calendar months.")
    if not known:
        notes.append(f"No customer has the id {account.customer_id} yet; only events name it.")
    notes += [
        f"Line {line.number}: events that hold no number to add, and add nothing: "
        f"{line.not_counted} ({line.measures})."
        for line in lines
        if line.not_counted
    ]
    notes += [
        f"Line {line.number}: the rest of the period is billed by another plan of the customer's."
        for line in lines
        if line.meter_id is not None and line.windows != (period,)
    ]
    return tuple(notes)
