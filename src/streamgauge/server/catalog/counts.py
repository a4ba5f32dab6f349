"""How much a catalog holds, over all modes."""

from __future__ import annotations

from typing import Final

from sqlalchemy import func, select

from streamgauge.server.catalog.catalog import Catalog
from streamgauge.server.catalog.invoices import invoices
from streamgauge.server.catalog.schema import customers, subscriptions

_COUNTED: Final = (customers, subscriptions, invoices)


def counts(catalog: Catalog) -> dict[str, int]:
    """Return how many customers, subscriptions and invoices there are, by these words."""
    with catalog.database.read() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in _COUNTED
        }
