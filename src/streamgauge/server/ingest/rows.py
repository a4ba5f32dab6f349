"""Rows of the ingest log: canonical JSON lines, made again from checked values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

_LINES: Final = msgspec.json.Encoder().encode_lines


class Row(msgspec.Struct, frozen=True, gc=False):
    """One accepted event as it stands in the log; the store's columns but the log position.

    Attributes:
        timestamp: Aware, UTC.
        metadata: Canonical JSON text by key.
        received_at: Aware, UTC.
    """

    business_id: str
    mode: str
    event_name: str
    customer_id: str
    timestamp: datetime
    event_id: str
    metadata: dict[str, str]
    received_at: datetime


def encode(rows: Sequence[Row]) -> bytes:
    """Return ``rows`` as one record of the log."""
    return _LINES(rows)


def number(records: Iterable[bytes], first_position: int) -> tuple[bytes, int]:
    """Return all lines of ``records`` with their log positions, and how many there are."""
    lines = [line for record in records for line in record.splitlines()]
    numbered = [
        b'{"log_position":%d,%b' % (place, line[1:])
        for place, line in enumerate(lines, first_position)
    ]
    return b"\n".join(numbered), len(lines)
