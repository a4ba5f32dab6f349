"""Billing: periods, and invoices that can be recomputed from events.

In come customers, products and subscriptions from the catalog and exact usage from the store; out
go previews, final invoices with the log position they were cut at, and the events behind each line.
A final invoice is a pure function of the events up to its cut, the meters and the prices; what
arrives later is shown beside it and never inside it.
"""

from streamgauge.server.billing.invoices import Billing, Explanation, Whose

__all__ = ["Billing", "Explanation", "Whose"]
