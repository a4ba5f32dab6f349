"""A file of usage events, one JSON object a line, only ever appended to.

A batch is on disk before it is acknowledged. After a crash the deliverer repeats its last batch
with the same ids; repeats within the last ``JSONL_TAIL_EVENTS`` lines are not written again. A
reader that must be sure beyond that keeps the first line of every ``event_id``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from streamgauge.core.errors import LockedError
from streamgauge.core.limits import JSONL_TAIL_BYTES, JSONL_TAIL_EVENTS
from streamgauge.sinks.base import Delivered, Outgoing, RetryLaterError


class _Line(msgspec.Struct):
    event_id: str


_LINE = msgspec.json.Decoder(_Line)


class JsonlSink:
    """Appends events to one file that it holds alone.

    Args:
        path: The file; made, for our user only, if it is not there.

    Raises:
        LockedError: Another process appends to it.
        OSError: It cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).absolute()
        self._pid = os.getpid()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size = self._cut_torn_line()
            self._recent = OrderedDict.fromkeys(self._tail_ids())
            _sync_directory(self._path.parent)
        except BlockingIOError as error:
            os.close(self._fd)
            raise LockedError(f"another process appends to {self._path}") from error
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def destination(self) -> str:
        """Return ``file:`` and the absolute path."""
        return f"file:{self._path}"

    def deliver(self, batch: Sequence[Outgoing]) -> Delivered:
        """Append what is new of the batch and sync it to disk."""
        if os.getpid() != self._pid:
            raise RetryLaterError(f"{self._path} is held by the parent; open another after a fork")
        fresh = {event.event_id: event for event in batch if event.event_id not in self._recent}
        lines = b"".join(event.body + b"\n" for event in fresh.values())
        try:
            _write_all(self._fd, lines)
            os.fdatasync(self._fd)
        except OSError as error:
            # Nothing of the batch is acknowledged, so a part of it must not stay.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise RetryLaterError(f"{self._path} cannot be written: {error.strerror}") from error
        self._size += len(lines)
        self._remember(fresh)
        return Delivered(acknowledged=tuple(event.event_id for event in batch))

    def close(self) -> None:
        """Close the file and give up its lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _remember(self, event_ids: Iterable[str]) -> None:
        self._recent.update((event_id, None) for event_id in event_ids)
        while len(self._recent) > JSONL_TAIL_EVENTS:
            self._recent.popitem(last=False)

    def _cut_torn_line(self) -> int:
        size = os.fstat(self._fd).st_size
        start = max(0, size - JSONL_TAIL_BYTES)
        whole = os.pread(self._fd, size - start, start).rfind(b"\n") + 1
        if start + whole < size and (whole or start == 0):
            # The writer died in the middle of a batch that was never acknowledged.
            os.ftruncate(self._fd, start + whole)
            return start + whole
        return size

    def _tail_ids(self) -> list[str]:
        start = max(0, self._size - JSONL_TAIL_BYTES)
        lines = os.pread(self._fd, self._size - start, start).split(b"\n")
        event_ids = []
        for line in lines[-JSONL_TAIL_EVENTS - 1 :]:
            # The first may be half a line; the file may hold what others wrote.
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                event_ids.append(_LINE.decode(line).event_id)
        return event_ids


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
