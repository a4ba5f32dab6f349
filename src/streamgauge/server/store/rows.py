"""What the store hands out."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from fractions import Fraction

import msgspec


class Bucket(StrEnum):
    """How usage is cut along time, in UTC."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event as it was accepted.

    Attributes:
        metadata: Canonical JSON text by key.
        timestamp: When it was used; aware, UTC.
        received_at: When the server took it; aware, UTC.
        log_position: Its place in the ingest log: segment and row in one number.
    """

    business_id: str
    mode: str
    event_id: str
    customer_id: str
    event_name: str
    timestamp: datetime
    metadata: dict[str, str]
    received_at: datetime
    log_position: int


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a meter says for one customer, one group and one bucket.

    Attributes:
        customer_id: Empty where all customers are one row.
        group: Canonical JSON text by metadata key of ``group_by``; empty text where an event has
            no such key.
        bucket: Start of the bucket; aware, UTC; None when usage is not cut along time.
        quantity: What the meter says, exactly.
        events: How many events were counted.
        not_counted: How many events the meter takes but cannot count: no number under its key, or
            for ``unique`` no value.
    """

    customer_id: str
    group: dict[str, str]
    bucket: datetime | None
    quantity: Fraction
    events: int
    not_counted: int


class WriterRun(msgspec.Struct, frozen=True, kw_only=True):
    """Sequences ``first`` to ``last`` of one writer are stored, without a gap."""

    business_id: str
    mode: str
    writer_id: str
    first: int
    last: int
