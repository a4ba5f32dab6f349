"""The files of a journal: their names, their heads, and what is whole in them after a crash."""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from streamgauge.core.errors import CorruptError
from streamgauge.core.files import Directory
from streamgauge.core.frames import Record, frame, scan

_NAME: Final = re.compile(r"journal-([0-9]{16})\.seg")
_BODY: Final = struct.Struct("<8sQQQ")
_CHECKSUM: Final = struct.Struct("<I")
_MAGIC: Final = b"SGJRNL01"
HEADER_BYTES: Final = _BODY.size + _CHECKSUM.size


class Position(NamedTuple):
    """A place in a journal; compares in log order."""

    segment: int
    offset: int


_NOTHING: Final = Position(0, 0)


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What opening a journal found.

    Attributes:
        records: How many records are whole.
        torn_bytes: Bytes cut from the end: a write that its process did not live to finish.
        corrupt: Damage with whole records behind it; those records are kept.
    """

    records: int
    torn_bytes: int
    corrupt: tuple[CorruptError, ...]


def name(segment: int) -> str:
    """Return the file name of a segment."""
    return f"journal-{segment:016d}.seg"


def header(segment: int, void_from: Position = _NOTHING) -> bytes:
    """Return the head of a segment; records from ``void_from`` up to it have later copies here."""
    body = _BODY.pack(_MAGIC, segment, *void_from)
    return body + _CHECKSUM.pack(zlib.crc32(body))


def parse_header(head: bytes, segment: int) -> Position | None:
    """Return the position from which earlier records are void ((0, 0): none), or None."""
    if len(head) != HEADER_BYTES:
        return None
    magic, number, void_segment, void_offset = _BODY.unpack_from(head)
    checksum = _CHECKSUM.pack(zlib.crc32(head[: _BODY.size]))
    if magic != _MAGIC or number != segment or checksum != head[_BODY.size :]:
        return None
    return Position(void_segment, void_offset)


def apply_void(limits: dict[int, int], void_from: Position, until: int) -> None:
    """Cut what is void, from ``void_from`` up to segment ``until``, out of ``limits``."""
    for segment, limit in limits.items():
        if segment == void_from.segment:
            limits[segment] = min(limit, void_from.offset)
        elif void_from.segment < segment < until:
            limits[segment] = HEADER_BYTES


def rewritten(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return the bytes of a segment with ``change(record)`` for each record; damage stays."""
    parts = [data[:HEADER_BYTES]]
    for found in scan(data, HEADER_BYTES):
        if isinstance(found, Record):
            changed = change(found.data)
            assert len(changed) <= len(found.data), "a record never grows"
            parts.append(frame(changed))
        else:
            parts.append(data[found.offset : found.offset + found.size])
    return b"".join(parts)


def recover(directory: Directory) -> tuple[Recovery, dict[int, int], int]:
    """Check every segment, cut a torn tail, and put what is whole on disk.

    Returns:
        What was found, the end of each segment in bytes, and the id of the next segment.

    Raises:
        OSError: A segment cannot be read, cut or synced.
    """
    found = sorted(int(match[1]) for match in map(_NAME.fullmatch, directory.names()) if match)
    limits, torn_bytes, corrupt = _read_headers(directory, found)
    records = 0
    for segment in sorted(limits):
        newest = segment == max(limits)
        count, torn = _check(directory, segment, limits, corrupt, cut=newest)
        records, torn_bytes = records + count, torn_bytes + torn
    directory.sync()
    recovery = Recovery(records=records, torn_bytes=torn_bytes, corrupt=tuple(corrupt))
    return recovery, limits, max(found, default=0) + 1


def _read_headers(
    directory: Directory, found: list[int]
) -> tuple[dict[int, int], int, list[CorruptError]]:
    limits: dict[int, int] = {}
    torn_bytes, corrupt = 0, list[CorruptError]()
    for segment in found:
        with contextlib.closing(directory.open(name(segment))) as file:
            head, size = file.read_at(0, HEADER_BYTES), file.size()
        void_from = parse_header(head, segment)
        if void_from is None and (len(head) < HEADER_BYTES or not any(head)):
            # A new segment that its process, or the power, did not live to give a head.
            torn_bytes += size
            directory.remove(name(segment))
            continue
        limits[segment] = size
        if void_from is None:
            corrupt.append(CorruptError(name(segment), 0, "the segment's head is damaged"))
        elif void_from != _NOTHING:
            apply_void(limits, void_from, segment)
    return limits, torn_bytes, corrupt


def _check(
    directory: Directory,
    segment: int,
    limits: dict[int, int],
    corrupt: list[CorruptError],
    *,
    cut: bool,
) -> tuple[int, int]:
    """Count whole records, note damage, and cut a torn tail; return (records, torn bytes)."""
    records = torn_bytes = 0
    with contextlib.closing(directory.open(name(segment))) as file:
        if file.size() > limits[segment]:
            file.truncate(limits[segment])
        for found in scan(file.read_at(0, limits[segment]), HEADER_BYTES):
            if isinstance(found, Record):
                records += 1
            elif found.torn and cut:
                torn_bytes = found.size
                limits[segment] = found.offset
                file.truncate(found.offset)
            else:
                corrupt.append(CorruptError(name(segment), found.offset, found.reason))
        file.sync()
    return records, torn_bytes
