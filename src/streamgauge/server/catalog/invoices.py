"""Final invoices: kept whole, one per account and period, never changed."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Column, Connection, RowMapping, Table, Text, select

from streamgauge.server.catalog.database import Database
from streamgauge.server.catalog.rows import Rows
from streamgauge.server.catalog.schema import Instant, metadata
from streamgauge.server.catalog.texts import EVERYTHING, Page
from streamgauge.server.rating.invoice import Invoice

invoices: Final = Table(
    "invoices",
    metadata,
    Column("business_id", Text, primary_key=True),
    Column("mode", Text, primary_key=True),
    Column("invoice_id", Text, primary_key=True),
    Column("account", Text),
    Column("customer_id", Text),
    Column("period_start", Instant),
    Column("document", Text),
    Column("created_at", Instant),
)

_INVOICE: Final = msgspec.json.Decoder(Invoice)


class Invoices:
    """The final invoices of a business."""

    def __init__(self, database: Database, business_id: str) -> None:
        self._rows = Rows(database, business_id, invoices, key="invoice_id", kind="invoice")

    def keep(self, mode: str, account: str, invoice: Invoice) -> Invoice:
        """Keep ``invoice``, or return the one that was kept before for this account and period.

        Args:
            mode: Of the invoice.
            account: Names who is billed for what, and is the same in every period.
            invoice: With its id.
        """
        assert invoice.id is not None, "only an invoice with an id is kept"
        with self._rows.database.write() as connection:
            kept = self._find(connection, mode, account, invoice.start)
            if kept is not None:
                return kept
            row = {
                "mode": mode,
                "invoice_id": invoice.id,
                "account": account,
                "customer_id": invoice.customer_id,
                "period_start": invoice.start,
                "document": msgspec.json.encode(invoice).decode(),
                "created_at": invoice.created_at,
            }
            self._rows.insert(connection, row)
            return invoice

    def find(self, mode: str, account: str, period_start: datetime) -> Invoice | None:
        """Return the invoice of an account and period, or None."""
        with self._rows.database.read() as connection:
            return self._find(connection, mode, account, period_start)

    def get(self, mode: str, id: str) -> Invoice:
        """Return an invoice as it was kept.

        Raises:
            NotFoundError: No invoice has this id.
        """
        return _invoice(self._rows.get(mode, id))

    def list(
        self, mode: str, *, customer_id: str | None = None, page: Page = EVERYTHING
    ) -> list[Invoice]:
        """Return invoices, oldest first."""
        where = [] if customer_id is None else [invoices.c.customer_id == customer_id]
        return [_invoice(row) for row in self._rows.list(mode, where, page)]

    def _find(
        self, connection: Connection, mode: str, account: str, period_start: datetime
    ) -> Invoice | None:
        query = select(invoices).where(
            invoices.c.business_id == self._rows.business_id,
            invoices.c.mode == mode,
            invoices.c.account == account,
            invoices.c.period_start == period_start,
        )
        row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _invoice(row)


def _invoice(row: RowMapping) -> Invoice:
    return _INVOICE.decode(row["document"])
