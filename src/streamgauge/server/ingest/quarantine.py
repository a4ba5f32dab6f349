"""Rows that the store will never take, kept with the reason for people to read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from streamgauge.core.files import Directory, read_all

_ROWS: Final = re.compile(r"rows-([0-9]+)-([0-9]+)\.ndjson")


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a file, above its rows.

    Attributes:
        segment: Where in the ingest log the rows were.
        first: The place of the first of them in it.
        rows: How many they are.
        reason: Why the store does not take them, in its words.
    """

    segment: int
    first: int
    rows: int
    reason: str


class Quarantine:
    """What was set aside, in ``directory``, durably.

    A segment with such rows is inserted in parts. That it is, is noted before the first part, so
    that the same parts are inserted whenever it is inserted again.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._held = {name: self._head(name) for name in directory.names() if _ROWS.fullmatch(name)}

    def set_aside(self, segment: int, first: int, lines: Sequence[bytes], reason: str) -> None:
        """Keep rows of a segment; the same ones again change nothing."""
        name = f"rows-{segment}-{first}.ndjson"
        head = SetAside(segment=segment, first=first, rows=len(lines), reason=reason)
        self._directory.replace(name, b"\n".join([msgspec.json.encode(head), *lines, b""]))
        self._held[name] = head

    def rewrite(self, change: Callable[[bytes], bytes]) -> None:
        """Put ``change(row)`` in the place of each row, durably."""
        for name in self._held:
            with contextlib.closing(self._directory.open(name)) as file:
                data = read_all(file)
            head, *rows = data.splitlines()
            if (changed := b"\n".join([head, *map(change, rows), b""])) != data:
                self._directory.replace(name, changed)

    def held(self) -> list[SetAside]:
        """Return what is set aside."""
        return list(self._held.values())

    def rows(self, segment: int) -> int:
        """Return how many rows of a segment are set aside."""
        return sum(each.rows for each in self.held() if each.segment == segment)

    def lines(self) -> Iterator[bytes]:
        """Yield every row that is set aside."""
        for name in list(self._held):
            with contextlib.closing(self._directory.open(name)) as file:
                yield from read_all(file).splitlines()[1:]

    def is_in_parts(self, segment: int) -> bool:
        """Tell whether a segment is inserted in parts."""
        return _note(segment) in self._directory.names()

    def note_parts(self, segment: int) -> None:
        """Note, durably, that a segment is inserted in parts."""
        self._directory.replace(_note(segment), b"")

    def forget_parts(self, segment: int) -> None:
        """Drop the note: the log no longer has the segment."""
        self._directory.remove(_note(segment))

    def _head(self, name: str) -> SetAside:
        with contextlib.closing(self._directory.open(name)) as file:
            return msgspec.json.decode(read_all(file).partition(b"\n")[0], type=SetAside)


def _note(segment: int) -> str:
    return f"parts-{segment}"
