"""Records in a byte stream: framed so that damage is found, measured and stepped over.

A frame is ``magic(4) crc32(4) length(4) record``; the checksum covers length and record. The
magic lets a reader find the next whole frame behind damaged bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.limits import JOURNAL_RECORD_BYTES_MAX

MAGIC: Final = b"\xf5SGR"
_HEAD: Final = struct.Struct("<4sII")
_LENGTH: Final = struct.Struct("<I")
HEAD_BYTES: Final = _HEAD.size


class Record(msgspec.Struct, frozen=True, gc=False):
    """A whole record found at ``offset``."""

    offset: int
    data: bytes


class Damage(msgspec.Struct, frozen=True):
    """Bytes that are no frame: ``size`` of them from ``offset``; ``torn`` if none follows."""

    offset: int
    size: int
    reason: str
    torn: bool


def frame(record: bytes) -> bytes:
    """Return ``record`` as a frame.

    Raises:
        InvalidInputError: The record is empty or over the limit.
    """
    if not 1 <= len(record) <= JOURNAL_RECORD_BYTES_MAX:
        raise InvalidInputError(
            "record", f"{len(record)} bytes", f"have 1 to {JOURNAL_RECORD_BYTES_MAX} bytes"
        )
    length = _LENGTH.pack(len(record))
    return _HEAD.pack(MAGIC, zlib.crc32(record, zlib.crc32(length)), len(record)) + record


def scan(data: bytes, start: int = 0) -> Iterator[Record | Damage]:
    """Yield every whole record of ``data`` from ``start``, and what lies between as damage."""
    offset = start
    while offset < len(data):
        record = _whole_frame(data, offset)
        if isinstance(record, Record):
            yield record
            offset += HEAD_BYTES + len(record.data)
            continue
        found = _next_frame(data, offset + 1)
        end = len(data) if found is None else found
        yield Damage(offset, end - offset, record, torn=found is None)
        offset = end


def _whole_frame(data: bytes, offset: int) -> Record | str:
    """Return the record at ``offset``, or why there is none."""
    if len(data) - offset < HEAD_BYTES:
        return "the frame's head is cut off"
    magic, checksum, length = _HEAD.unpack_from(data, offset)
    if magic != MAGIC:
        return "no frame starts here"
    begin = offset + HEAD_BYTES
    if not 1 <= length <= JOURNAL_RECORD_BYTES_MAX or len(data) - begin < length:
        return "the frame's record is cut off"
    record = data[begin : begin + length]
    if zlib.crc32(record, zlib.crc32(_LENGTH.pack(length))) != checksum:
        return "the checksum does not match"
    return Record(offset, record)


def _next_frame(data: bytes, start: int) -> int | None:
    """Return the offset of the first whole frame at or after ``start``."""
    while (start := data.find(MAGIC, start)) >= 0:
        if isinstance(_whole_frame(data, start), Record):
            return start
        start += 1
    return None
