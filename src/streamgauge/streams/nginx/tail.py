"""A growing log, read to its end and on: across rotations, and across restarts of the reader.

A file is known by its first line, which no other log has, so that it is found again under the name
that a rotation gave it.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from streamgauge.core.clock import NS_PER_S, Clock
from streamgauge.core.limits import LOG_LINE_BYTES_MAX

_READ_BYTES: Final = 1024 * 1024
# nginx's workers reopen their logs one after the other.
_ROTATION_NS: Final = 5 * NS_PER_S


class Place(NamedTuple):
    """Where a line begins; the later of two lines has the greater place.

    Attributes:
        turn: Counts the files that were read, from the start of the reader.
        offset: In the file.
        file: Names the file: the digest of its first line.
    """

    turn: int
    offset: int
    file: str


class Tail:
    """Follows a log.

    Args:
        path: Where nginx writes; rotated ones stand beside it, as ``access.log.1``.
        after: Where to go on, from another time; None: at the beginning.
        clock: Says when a file that was moved away is finished.

    Attributes:
        gaps: How often lines between two places were gone: a file removed, compressed or cut.
        too_long: Lines that were left out because no line is so long.
    """

    def __init__(self, path: Path, after: Place | None, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._file: io.FileIO | None = None
        self._name = ""
        self._turn = 0
        self._offset = 0
        self._left_at_ns: int | None = None
        self.gaps = 0
        self.too_long = 0
        if after is not None:
            self._resume(after)

    @property
    def place(self) -> Place:
        """Return where the next line begins."""
        return Place(self._turn, self._offset, self._name)

    def read(self) -> Iterator[tuple[Place, bytes]]:
        """Yield the whole lines that are there now."""
        while True:
            if self._file is None and not self._open(self._path):
                return
            yield from self._lines()
            if not self._is_left():
                return
            self._next()

    def close(self) -> None:
        """Release the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _resume(self, after: Place) -> None:
        for path in self._files():
            if _name_of(path) == after.file and path.stat().st_size >= after.offset:
                self._open(path)
                self._offset = after.offset
                return
        self.gaps += bool(after.file)

    def _open(self, path: Path) -> bool:
        try:
            self._file = path.open("rb", buffering=0)
        except FileNotFoundError:
            return False
        self._name = _name_of(path)
        self._offset = 0
        self._turn += 1
        self._left_at_ns = None
        return True

    def _lines(self) -> Iterator[tuple[Place, bytes]]:
        file = self._file
        assert file is not None, "opened by the caller"
        if os.fstat(file.fileno()).st_size < self._offset:
            # Cut, as by copytruncate: what came between the last look and the copy is gone.
            self.gaps += 1
            self._offset, self._name = 0, ""
            self._turn += 1
        while True:
            data = os.pread(file.fileno(), _READ_BYTES, self._offset)
            end = data.rfind(b"\n") + 1
            if not end:
                if len(data) < LOG_LINE_BYTES_MAX:
                    return
                self.too_long += 1
                end = len(data)
                data = b""
            self._name = self._name or _digest(data[: data.find(b"\n") + 1])
            self._left_at_ns = None
            for line in data[:end].splitlines(keepends=True):
                place = self.place
                self._offset += len(line)
                yield place, line
            if not data:
                self._offset += end

    def _is_left(self) -> bool:
        """Return whether nginx writes to another file by now, and this one is finished."""
        file = self._file
        assert file is not None, "opened by the caller"
        try:
            is_here = self._path.stat().st_ino == os.fstat(file.fileno()).st_ino
        except FileNotFoundError:
            # Moved away, and nginx was not told yet.
            return False
        now_ns = self._clock.monotonic_ns()
        if is_here:
            self._left_at_ns = None
        elif self._left_at_ns is None:
            self._left_at_ns = now_ns
        return self._left_at_ns is not None and now_ns - self._left_at_ns >= _ROTATION_NS

    def _next(self) -> None:
        """Go to the file that was written after this one."""
        assert self._file is not None, "opened by the caller"
        here = os.fstat(self._file.fileno()).st_ino
        files = self._files()
        at = next((n for n, path in enumerate(files) if path.stat().st_ino == here), None)
        self.close()
        self._open(files[at + 1] if at is not None and at + 1 < len(files) else self._path)

    def _files(self) -> list[Path]:
        """Return the log and what was rotated, oldest first; none that is compressed."""
        rotated = [
            path
            for path in self._path.parent.glob(f"{self._path.name}[.-]*")
            if path.suffix not in {".gz", ".bz2", ".xz", ".zst"}
        ]
        rotated.sort(key=lambda path: path.stat().st_mtime_ns)
        return [*rotated, *([self._path] if self._path.exists() else [])]


def _name_of(path: Path) -> str:
    with path.open("rb") as file:
        first = file.readline(LOG_LINE_BYTES_MAX)
    return _digest(first) if first.endswith(b"\n") else ""


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest() if line else ""
