"""Who may ask, who pays, what is measured and what it costs: the only code that speaks SQL tables.

In come checked values and the mode of the caller; out go frozen structs. Business and mode lead
every key and every query, a change is kept whole or not at all, and a key that was revoked by any
process stops working with the next request.
"""

from streamgauge.server.catalog.catalog import Catalog

__all__ = ["Catalog"]
