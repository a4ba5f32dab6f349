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


class _EventId(msgspec.Struct, frozen=True):
    event_id: str


_ID: Final = msgspec.json.Decoder(_Id)
_HEAD: Final = msgspec.json.Decoder(Head)
_EVENTS: Final = msgspec.json.Decoder(_EventId)


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


def head_and_ids(record: bytes) -> tuple[Head, list[str]]:
    """Return what the events of a record have in common, and their ids.

    Raises:
        ValueError: It is no record.
    """
    head, _, lines = record.partition(b"\n")
    return _HEAD.decode(head), [line.event_id for line in _EVENTS.decode_lines(lines)]


def without(record: bytes, spans: Iterable[tuple[int, int]]) -> bytes:
    """Return a record without some of its events.

    Args:
        record: As it is in the log.
        spans: The first of them, from 0 on, and the one after the last, in order.
    """
    head, *lines = record.splitlines(keepends=True)
    for first, end in reversed(list(spans)):
        del lines[first:end]
    return head + b"".join(lines)


def spans(flags: Sequence[bool]) -> list[tuple[int, int]]:
    """Return where ``flags`` are set, as first and end of each run."""
    edges = [at for at in range(len(flags) + 1) if _at(flags, at) != _at(flags, at - 1)]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _at(flags: Sequence[bool], place: int) -> bool:
    return 0 <= place < len(flags) and flags[place]


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
