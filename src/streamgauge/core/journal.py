"""An append-only log in segments: what was synced is read back, whole and in order, for ever.

``append`` hands a record to the operating system, so that it survives the process; ``sync`` puts
everything appended so far on disk. One process writes (its owner holds a lock), threads may share.
A segment whose sync fails is never synced again, since the kernel may have dropped its pages: the
records not known to be on disk are written once more to a new segment, whose head declares the
earlier copies void. That head is written last, so a crash in between leaves one copy in force.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from streamgauge.core.files import Directory, File
from streamgauge.core.frames import Record, frame, scan
from streamgauge.core.segments import (
    HEADER_BYTES,
    Position,
    Recovery,
    apply_void,
    header,
    name,
    recover,
    rewritten,
)

__all__ = ["HEADER_BYTES", "Journal", "Position", "Recovery"]

SEGMENT_BYTES_MAX: Final = 64 * 1024 * 1024


class Journal:
    """An append-only log in ``directory``.

    Args:
        directory: Where the segments live; nothing else there is touched.
        segment_bytes_max: When a segment is full.

    Raises:
        OSError: A segment cannot be read, cut or synced.
    """

    def __init__(self, directory: Directory, *, segment_bytes_max: int = SEGMENT_BYTES_MAX) -> None:
        self._directory = directory
        self._segment_bytes_max = segment_bytes_max
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self.recovery, self._limits, next_segment = recover(directory)
        self._dirty: dict[int, File] = {}
        self._unsynced: list[tuple[Position, bytes]] = []
        self._failed = False
        self._active: File | None = None
        self._end = Position(next_segment, HEADER_BYTES)
        self._synced = self._end

    @property
    def end(self) -> Position:
        """Return where the next record goes."""
        return self._end

    @property
    def synced(self) -> Position:
        """Return the position before which everything is on disk."""
        return self._synced

    def append(self, record: bytes) -> Position:
        """Append ``record``; when this returns it survives the process.

        Returns:
            Where it is, until a failed sync moves it.

        Raises:
            InvalidInputError: The record is empty or over the limit.
            OSError: It could not be written; the journal is as before.
        """
        return self.append_all([record])

    def append_all(self, records: Iterable[bytes]) -> Position:
        """Append ``records`` at once, into one segment.

        Returns:
            Where the first is, until a failed sync moves it.

        Raises:
            InvalidInputError: A record is empty or over the limit.
            OSError: They could not be written; the journal is as before.
        """
        frames = b"".join(map(frame, records))
        with self._lock:
            return self._write(frames)

    def sync(self) -> Position:
        """Put everything appended so far on disk.

        Returns:
            The position before which everything is on disk.

        Raises:
            OSError: The disk refuses, also in a new segment; what was appended is kept and the
                next call tries again.
        """
        with self._sync_lock:
            if not self._failed:
                with self._lock:
                    target, dirty = self._end, dict(self._dirty)
                if target == self._synced:
                    return target
                try:
                    self._sync_files(dirty)
                except OSError:
                    self._failed = True
                else:
                    self._settle(target)
                    return target
            self._rewrite()
            return self._synced

    def roll(self) -> int | None:
        """Seal the active segment, on disk, and return its id; None if it has no records."""
        with self._lock:
            sealed = None if self._end.offset == HEADER_BYTES else self._end.segment
            if sealed is not None:
                self._seal()
        # Also without a record: the sync of an earlier roll may have failed.
        self.sync()
        return sealed

    def segments(self) -> list[int]:
        """Return the ids of the segments on disk, oldest first."""
        with self._lock:
            return sorted(self._limits)

    def read(self, segment: int, offset: int = 0) -> Iterator[tuple[Position, bytes]]:
        """Yield the whole records of ``segment`` at or after ``offset`` with their positions.

        Raises:
            FileNotFoundError: The segment was removed.
        """
        with self._lock:
            if segment not in self._limits:
                raise FileNotFoundError(name(segment))
            limit = self._end_of(segment).offset
        start = max(offset, HEADER_BYTES)
        with contextlib.closing(self._directory.open(name(segment))) as file:
            data = file.read_at(start, limit - start)
        for found in scan(data):
            if isinstance(found, Record):
                yield Position(segment, start + found.offset), found.data

    def rewrite(self, segment: int, change: Callable[[bytes], bytes]) -> None:
        """Put ``change(record)`` in the place of each record of a synced segment, all or none.

        Args:
            segment: One that ends before ``synced``.
            change: Returns a record that is not longer: a later segment may void this one from
                some place on. Damaged bytes stay as they are.

        Raises:
            FileNotFoundError: The segment was removed.
            OSError: The disk refuses; the segment is as before.
        """
        with self._lock:
            if segment not in self._limits or segment >= self._synced.segment:
                raise FileNotFoundError(name(segment))
            limit = self._limits[segment]
        with contextlib.closing(self._directory.open(name(segment))) as file:
            data = file.read_at(0, limit)
        if (written := rewritten(data, change)) != data:
            self._directory.replace(name(segment), written)
            with self._lock:
                self._limits[segment] = len(written)

    def size_bytes(self) -> int:
        """Return the bytes of all segments on disk."""
        with self._lock:
            return sum(self._end_of(segment).offset for segment in self._limits)

    def remove(self, segment: int) -> None:
        """Remove a segment, the oldest first; the numbering goes on."""
        with self._lock:
            if segment == self._end.segment:
                self._seal()
            if segment == max(self._limits, default=0):
                self._start()
            self._limits.pop(segment, None)
            self._unsynced = [pair for pair in self._unsynced if pair[0].segment != segment]
            if file := self._dirty.pop(segment, None):
                file.close()
        self._directory.remove(name(segment))

    def close(self) -> None:
        """Release the files; what was not synced still survives the process."""
        with self._sync_lock, self._lock:
            for file in self._dirty.values():
                file.close()
            if self._active is not None:
                self._active.close()
            self._dirty.clear()
            self._active = None

    def _write(self, frames: bytes) -> Position:
        if HEADER_BYTES < self._end.offset > self._segment_bytes_max - len(frames):
            self._seal()
        if self._active is None:
            self._start()
        assert self._active is not None
        at = self._end
        try:
            self._active.write_at(at.offset, frames)
        except OSError:
            with contextlib.suppress(OSError):
                self._active.truncate(at.offset)
            raise
        self._dirty[at.segment] = self._active
        self._unsynced.append((at, frames))
        self._end = Position(at.segment, at.offset + len(frames))
        return at

    def _seal(self) -> None:
        if self._end.offset == HEADER_BYTES and self._active is None:
            return
        self._limits[self._end.segment] = self._end.offset
        if self._active is not None and self._end.segment not in self._dirty:
            self._active.close()
        self._active = None
        self._end = Position(self._end.segment + 1, HEADER_BYTES)

    def _start(self) -> None:
        segment = self._end.segment
        self._directory.remove(name(segment))
        file = self._directory.open(name(segment), create=True)
        try:
            file.write_at(0, header(segment))
        except OSError:
            file.close()
            self._directory.remove(name(segment))
            raise
        self._active = file
        self._dirty[segment] = file
        self._limits[segment] = HEADER_BYTES

    def _sync_files(self, dirty: dict[int, File]) -> None:
        for segment in sorted(dirty):
            dirty[segment].sync()
        self._directory.sync()

    def _settle(self, target: Position) -> None:
        """Note that everything before ``target`` is on disk."""
        with self._lock:
            self._synced = target
            self._unsynced = [pair for pair in self._unsynced if pair[0] >= target]
            for segment in list(self._dirty):
                if self._end_of(segment) <= target:
                    file = self._dirty.pop(segment)
                    if file is not self._active:
                        file.close()

    def _end_of(self, segment: int) -> Position:
        if segment == self._end.segment:
            return self._end
        return Position(segment, self._limits[segment])

    def _rewrite(self) -> None:
        """Write what may not be on disk to a new segment, and void the earlier copies."""
        with self._lock:
            segment = self._end.segment + 1
            frames = [written for _, written in self._unsynced]
            self._directory.remove(name(segment))
            file = self._directory.open(name(segment), create=True)
            try:
                file.write_at(HEADER_BYTES, b"".join(frames))
                file.sync()
                file.write_at(0, header(segment, self._synced))
                file.sync()
                self._directory.sync()
            except OSError:
                file.close()
                self._directory.remove(name(segment))
                raise
            if self._active is not None:
                self._limits[self._end.segment] = self._end.offset
                self._active.close()
            apply_void(self._limits, self._synced, segment)
            for dirty in self._dirty.values():
                dirty.close()
            self._dirty.clear()
            self._active = file
            self._limits[segment] = HEADER_BYTES
            self._end = Position(segment, HEADER_BYTES + sum(map(len, frames)))
            self._unsynced.clear()
            self._synced = self._end
            self._failed = False
