"""Records of the ingest log: canonical JSON lines, made again from checked values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from streamgauge.server.ingest.rules import WireEvent

_LINES: Final = msgspec.json.Encoder().encode_lines
_LINE: Final = msgspec.json.Encoder().encode


class Head(msgspec.Struct, frozen=True, gc=False):
    """The first line of a record: what its events have in common.

    Attributes:
        received_at: Aware, UTC.
    """

    business_id: str
    mode: str
    received_at: datetime


class _Id(msgspec.Struct, frozen=True):
    business_id: str
    mode: str
    event_id: str


_ID: Final = msgspec.json.Decoder(_Id)


def encode(head: Head, events: Sequence[WireEvent]) -> bytes:
    """Return checked events as one record of the log."""
    return _LINE(head) + b"\n" + _LINES(events)


def numbered(records: Iterable[bytes], first_position: int) -> list[bytes]:
    """Return the events of ``records`` as rows of the store, with their log positions."""
    rows: list[bytes] = []
    for record in records:
        head, *lines = record.splitlines()
        start = b'{%b,"log_position":' % head[1:-1]
        rows += [
            b"%b%d,%b" % (start, place, line[1:])
            for place, line in enumerate(lines, first_position + len(rows))
        ]
    return rows


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
