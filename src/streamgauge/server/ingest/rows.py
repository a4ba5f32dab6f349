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


class _Id(msgspec.Struct, frozen=True):
    business_id: str
    mode: str
    event_id: str


_ID: Final = msgspec.json.Decoder(_Id)


def encode(rows: Sequence[Row]) -> bytes:
    """Return ``rows`` as one record of the log."""
    return _LINES(rows)


def numbered(records: Iterable[bytes], first_position: int) -> list[bytes]:
    """Return all lines of ``records`` with their log positions."""
    lines = [line for record in records for line in record.splitlines()]
    return [
        b'{"log_position":%d,%b' % (place, line[1:])
        for place, line in enumerate(lines, first_position)
    ]


def ids(lines: Iterable[bytes]) -> dict[tuple[str, str], list[str]]:
    """Return the event ids of lines by (business, mode), without lines that have none."""
    by_scope: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        try:
            row = _ID.decode(line)
        except msgspec.DecodeError:
            continue
        by_scope.setdefault((row.business_id, row.mode), []).append(row.event_id)
    return by_scope


def number(records: Iterable[bytes], first_position: int) -> tuple[bytes, int]:
    """Return all lines of ``records`` with their log positions as one text, and their number."""
    lines = numbered(records, first_position)
    return b"\n".join(lines), len(lines)
