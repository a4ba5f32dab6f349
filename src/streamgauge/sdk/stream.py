"""Plain calls, as in the Stream Blueprint."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from streamgauge.sdk.ingestion import Ingestion


def track_stream_bytes(
    ingestion: Ingestion,
    *,
    customer_id: str,
    bytes: int | None = None,
    metadata: Mapping[str, object] | None = None,
    event_id: str | None = None,
    timestamp: datetime | None = None,
) -> None:
    """Record bytes that the caller counted: one call is one event.

    When it returns, the record survives the process; nothing waits for a disk or a network.

    Args:
        ingestion: Where to.
        customer_id: Who pays.
        bytes: How many; None makes an event without quantity, for meters that count.
        metadata: Texts, numbers and booleans by key, without a ``bytes`` of their own.
        event_id: Unique for ever; one is made if it is not given.
        timestamp: When; naive is UTC; now if it is not given.

    Raises:
        InvalidInputError: A value breaks a rule; nothing was recorded.
    """
    ingestion.track(
        customer_id=customer_id,
        bytes=bytes,
        metadata=metadata,
        event_id=event_id,
        timestamp=timestamp,
    )
