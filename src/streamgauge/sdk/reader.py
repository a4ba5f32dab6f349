"""The records of a journal, read beside its writer: nothing is recovered, cut or locked."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from streamgauge.core.errors import CorruptError
from streamgauge.core.files import Directory, read_all
from streamgauge.core.frames import Record, scan
from streamgauge.core.journal import Journal
from streamgauge.core.segments import HEADER_BYTES, Position, apply_void, name, parse_header
from streamgauge.sdk.records import SpooledEvent, decode_event

_SEGMENT: Final = re.compile(r"journal-([0-9]{16})\.seg")


def read_records(directory: Directory) -> Iterator[bytes | CorruptError]:
    """Yield whole records in order, and what is damaged; a torn end is its writer's, who may live.

    Raises:
        OSError: A segment cannot be read.
    """
    content: dict[int, bytes] = {}
    for match in filter(None, map(_SEGMENT.fullmatch, directory.names())):
        # One that its writer removes meanwhile was delivered.
        with (
            contextlib.suppress(FileNotFoundError),
            contextlib.closing(directory.open(match[0])) as file,
        ):
            content[int(match[1])] = read_all(file)
    limits = {segment: len(data) for segment, data in content.items()}
    for segment, data in sorted(content.items()):
        void_from = parse_header(data[:HEADER_BYTES], segment)
        if void_from is not None and void_from != Position(0, 0):
            apply_void(limits, void_from, segment)
    for segment, limit in sorted(limits.items()):
        for found in scan(content[segment][:limit], HEADER_BYTES):
            if isinstance(found, Record):
                yield found.data
            elif not (found.torn and segment == max(limits)):
                yield CorruptError(name(segment), found.offset, found.reason)


def read_events(journal: Journal) -> Iterator[SpooledEvent]:
    """Yield all events of a spool's journal.

    Raises:
        CorruptError: A record is whole and not what was written.
        OSError: A segment cannot be read.
    """
    for segment in journal.segments():
        for position, record in journal.read(segment):
            try:
                yield decode_event(record)
            except msgspec.MsgspecError as error:
                raise CorruptError(name(segment), position.offset, str(error)) from None


def read_between(
    directory: Directory, start: Position, until: Position, segments: list[int] | None = None
) -> Iterator[tuple[Position, bytes]]:
    """Yield whole records at or after ``start`` and before ``until``, which is synced.

    What is damaged is stepped over. A record may come twice: behind a failed sync its copy.

    Args:
        directory: The journal's.
        start: Where to begin.
        until: Where to end.
        segments: Those that must be there; None: those that are, while their writer may remove
            what was delivered.

    Raises:
        FileNotFoundError: A segment is missing.
        OSError: One cannot be read.
    """
    passing: tuple[type[OSError], ...] = ()
    if segments is None:
        found = filter(None, map(_SEGMENT.fullmatch, directory.names()))
        segments, passing = sorted(int(match[1]) for match in found), (FileNotFoundError,)
    for segment in segments:
        if not start.segment <= segment <= until.segment:
            continue
        offset = max(start.offset if segment == start.segment else 0, HEADER_BYTES)
        with contextlib.suppress(*passing):
            yield from _read_segment(directory, Position(segment, offset), until)


def _read_segment(
    directory: Directory, start: Position, until: Position
) -> Iterator[tuple[Position, bytes]]:
    with contextlib.closing(directory.open(name(start.segment))) as file:
        end = until.offset if start.segment == until.segment else file.size()
        data = file.read_at(start.offset, max(end - start.offset, 0))
    for found in scan(data):
        if isinstance(found, Record):
            yield Position(start.segment, start.offset + found.offset), found.data
