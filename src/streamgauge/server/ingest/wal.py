"""The ingest log on this machine's disk: a journal, and a file that notes what is inserted."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Final

from streamgauge.core.errors import CorruptError
from streamgauge.core.files import Directory, read_all
from streamgauge.core.journal import HEADER_BYTES, Journal
from streamgauge.core.limits import INGEST_SEGMENT_BYTES_MAX, JOURNAL_RECORD_BYTES_MAX

MARK: Final = "inserted"
SET_ASIDE: Final = "quarantine"


class Wal:
    """A journal in ``directory``; segments with damage are copied to ``quarantine`` there.

    Args:
        directory: The log's own; its owner holds a lock.
        segment_bytes_max: When a segment is full.

    Raises:
        CorruptError: The note of what is inserted cannot be read.
        OSError: The journal cannot be opened.
    """

    def __init__(
        self, directory: Directory, *, segment_bytes_max: int = INGEST_SEGMENT_BYTES_MAX
    ) -> None:
        self._directory = directory
        self._mark = _read_mark(directory)
        self._journal = Journal(directory, segment_bytes_max=segment_bytes_max)
        self._appended = 0
        self._damage = [str(error) for error in self._journal.recovery.corrupt]
        self._set_aside({error.where for error in self._journal.recovery.corrupt})

    @property
    def torn_bytes(self) -> int:
        """Return how many bytes of an unfinished write were cut from the end."""
        return self._journal.recovery.torn_bytes

    @property
    def records(self) -> int:
        """Return how many whole records were found."""
        return self._journal.recovery.records

    @property
    def record_bytes_max(self) -> int:
        """Return how large a record may be."""
        return JOURNAL_RECORD_BYTES_MAX

    def append(self, record: bytes) -> int:
        """Append one batch of rows, and return how many were appended since the start."""
        self._journal.append(record)
        self._appended += 1
        return self._appended

    def sync(self) -> None:
        """Return when everything appended is on disk."""
        self._journal.sync()

    def newest(self) -> int:
        """Return the newest segment with something on disk, 0 for none."""
        synced = self._journal.synced
        if synced.offset > HEADER_BYTES:
            return synced.segment
        # Numbers may be missing: of a segment that never got a head, or that a failed sync skipped.
        return max((each for each in self._journal.segments() if each < synced.segment), default=0)

    def next_segment(self) -> int:
        """Return the number of the next segment; none from here on was ever written."""
        end = self._journal.end
        return end.segment if end.offset == HEADER_BYTES else end.segment + 1

    def seal(self) -> None:
        """Start a new segment if the newest holds anything."""
        self._journal.roll()

    def sealed(self) -> list[int]:
        """Return the segments that will never change again, oldest first."""
        settled = self._journal.synced.segment
        return [segment for segment in self._journal.segments() if segment < settled]

    def read(self, segment: int) -> Iterator[bytes]:
        """Yield the whole records of a segment."""
        for _, record in self._journal.read(segment):
            yield record

    def rewrite(self, through: int, change: Callable[[bytes], bytes]) -> list[str]:
        """Put ``change(record)``, never longer, in the place of each sealed record.

        Args:
            through: The last segment that is gone through.
            change: Says what is kept of a record.

        Returns:
            The files of damaged segments, which are kept for people to read.

        Raises:
            OSError: The disk refuses; each segment is as before or done.
        """
        for segment in self.sealed():
            if segment <= through:
                self._journal.rewrite(segment, change)
        if SET_ASIDE not in self._directory.names():
            return []
        return [f"{SET_ASIDE}/{name}" for name in self._directory.child(SET_ASIDE).names()]

    def remove(self, segment: int) -> None:
        """Remove a sealed segment."""
        self._journal.remove(segment)

    def size_bytes(self) -> int:
        """Return the bytes of all segments."""
        return self._journal.size_bytes()

    def free_bytes(self) -> int:
        """Return how many bytes more its disk takes."""
        return self._directory.free_bytes()

    def mark(self) -> int:
        """Return the newest segment noted as inserted, 0 for none."""
        return self._mark

    def set_mark(self, segment: int) -> None:
        """Note, durably, that everything up to ``segment`` is inserted."""
        self._directory.replace(MARK, b"%d\n" % segment)
        self._mark = segment

    def damage(self) -> list[str]:
        """Return what was found broken, and set aside, when the log was opened."""
        return list(self._damage)

    def close(self) -> None:
        """Release the files."""
        self._journal.close()

    def _set_aside(self, names: set[str]) -> None:
        if not names:
            return
        quarantine = self._directory.child(SET_ASIDE, create=True)
        for name in sorted(names - set(quarantine.names())):
            with contextlib.closing(self._directory.open(name)) as file:
                quarantine.replace(name, read_all(file))


def _read_mark(directory: Directory) -> int:
    if MARK not in directory.names():
        return 0
    with contextlib.closing(directory.open(MARK)) as file:
        text = read_all(file)
    if not re.fullmatch(rb"[0-9]{1,18}\n", text):
        raise CorruptError(MARK, 0, f"it must be a segment number, not {text[:40]!r}")
    return int(text)
