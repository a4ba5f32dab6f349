"""The events and their minute rollups; the only code that speaks to the event engine.

In come sealed segments of the ingest log, each inserted once however often it is given; out go
events and exact sums. Sums are ``Decimal(76, 12)``; a float never touches a quantity. One process
has the engine open. Every row and every rollup is keyed by business and mode first.
"""

from streamgauge.server.store.engine import RowsRefusedError
from streamgauge.server.store.event_store import EventStore
from streamgauge.server.store.rows import Bucket, StoredEvent, UsageRow, WriterRun

__all__ = ["Bucket", "EventStore", "RowsRefusedError", "StoredEvent", "UsageRow", "WriterRun"]
