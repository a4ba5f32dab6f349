# ruff: noqa: S608 - Values go through compile.literal; the rest is our own text.
"""Events out of the engine into the archive, and metadata of forgotten customers out of that.

The files come first, then the state that names them, and only then goes what it replaces. So a
death anywhere leaves either state whole, and things that nobody reads, which go next time.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import (
    CorruptError,
    StreamgaugeError,
    UnavailableError,
    UnsupportedError,
)
from streamgauge.core.limits import (
    ARCHIVE_FILE_ROWS,
    ARCHIVE_SMALL_ROWS,
    ARCHIVE_UNREAD_S,
    DISK_RESERVE_BYTES,
)
from streamgauge.server.archived import Archived, ArchivedFile, month_start
from streamgauge.server.metering.forgetting import Forget
from streamgauge.server.store import leftovers, parquet
from streamgauge.server.store.archive import Archive
from streamgauge.server.store.chunks import chunks
from streamgauge.server.store.engine import Engine
from streamgauge.server.store.forgetting import unfinished
from streamgauge.server.store.view import Rows, View, below, check_directory

_REWRITTEN_S: Final = 60


class Archiver:
    """Changes an archive; one change at a time, from any thread.

    Args:
        engine: Where events are.
        writing: Held by whoever inserts.
        archive: What is changed.
    """

    def __init__(self, engine: Engine, writing: threading.Lock, archive: Archive) -> None:
        self._engine = engine
        self._writing = writing
        self._archive = archive
        self._changing = threading.Lock()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Let a running ``step`` end after its file; what it had done so far is done again."""
        self._stopping.set()

    def waiting(self, up_to: int) -> int:
        """Return how many events came for archived months, up to a log position.

        Raises:
            UnavailableError: The engine refuses.
        """
        state = self._archive.state
        if state.before is None or up_to <= state.position:
            return 0
        late = msgspec.structs.replace(state, position=up_to)
        ((rows,),) = self._engine.rows(
            f"SELECT count() FROM events WHERE {below(late)} AND NOT {below(state)}"
        )
        return int(rows)

    def step(self, before: datetime, up_to: int) -> int:
        """Archive the oldest month that has something to archive, with all before it.

        Args:
            before: Only events before this start of a UTC month.
            up_to: Only events up to this log position. Nothing up to there is inserted again.

        Returns:
            How many events were archived; 0 when none is left, or when it was stopped.

        Raises:
            ConfigurationError: The engine cannot be told to read files of that directory.
            CorruptError: A file does not give back what was written; nothing was changed.
            UnsupportedError: There is no archive.
            UnavailableError: The engine refuses, rewrites events, or the disk is too full; the
                same call may be made again.
            OSError: The disk refuses; as above.
        """
        if self._archive.directory is None:
            raise UnsupportedError("events in another server's engine are not archived")
        check_directory(self._archive.directory)
        with self._changing:
            self._check_settled()
            state = self._next(before, up_to)
            if state is None:
                return 0
            with self._tidied():
                with self._archive.reading() as view:
                    files = self._write(view, state)
                if files is None:
                    return 0
                self._put(state, files)
            self._clean(ARCHIVE_UNREAD_S)
            return sum(file.rows for file in files) - state.rows

    def clean(self) -> bool:
        """Remove what no state needs any more; return whether nothing of it is left.

        Raises:
            UnavailableError: The engine refuses; the same call may be made again.
            OSError: The disk refuses; as above.
        """
        with self._changing:
            return self._clean(0)

    def forget(self, in_engine: Callable[[], bool], rule: Forget, up_to: int) -> bool:
        """Return whether no event, archived or not, holds more than ``rule`` keeps.

        If some do, some of them have been rewritten when this returns; ask again.

        Args:
            in_engine: Says so of ``events``, or begins to rewrite them.
            rule: What is kept.
            up_to: The log position up to which events are looked at.

        Raises:
            CorruptError: A file does not give back what was written; nothing was changed.
            UnavailableError: The engine refuses; the same call may be made again.
            OSError: The disk refuses; as above.
        """
        with self._free() as free:
            # An event that is rewritten must not be on its way into a file.
            if not free or not in_engine():
                return False
            if self._archive.directory is None:
                return True
            self._archive.load()
            # One file a call, so that no call takes long.
            with self._tidied(), self._archive.reading() as view:
                old = self._first_with_more(view, rule, rule.condition(up_to))
                if old is not None:
                    new = self._rewritten(view, old, rule, rule.condition(up_to))
                    files = (new if file is old else file for file in view.state.files)
                    self._put(view.state, tuple(files))
            return self._clean(0) and old is None

    @contextlib.contextmanager
    def _free(self) -> Iterator[bool]:
        free = self._changing.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                self._changing.release()

    @contextlib.contextmanager
    def _tidied(self) -> Iterator[None]:
        """Remove at once what a failure leaves: the disk may be full of it."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(StreamgaugeError, OSError):
                self._clean(0)
            raise

    def _check_settled(self) -> None:
        if not self._clean(ARCHIVE_UNREAD_S):
            raise UnavailableError("queries still read what was archived before", 60)
        if unfinished(self._engine):
            raise UnavailableError("the event engine rewrites events", _REWRITTEN_S)

    def _next(self, before: datetime, up_to: int) -> Archived | None:
        """Return the state that is to follow, still with the files of the one in force."""
        state = self._archive.state
        position = max(up_to, state.position)
        wanted = Archived(before=before, position=position)
        ((count, oldest),) = self._engine.rows(
            f"SELECT count(), toInt64(min(toYYYYMM(timestamp))) FROM events WHERE {below(wanted)}"
        )
        if not count:
            return None
        end = month_start(oldest // 100, oldest % 100 + 1)
        return msgspec.structs.replace(
            state, before=max(end, state.before or end), position=position
        )

    def _write(self, view: View, state: Archived) -> tuple[ArchivedFile, ...] | None:
        """Return all files with everything in ``events`` before a frontier, None if stopped."""
        rows = Rows("events", below(state))
        self._check_room(rows)
        files = {file.name: file for file in state.files}
        for place, chunk in enumerate(chunks(self._engine, rows, ARCHIVE_FILE_ROWS), 1):
            if self._stopping.is_set():
                return None
            name = _name(chunk.month, state.generation + 1, place)
            part = f"events WHERE {rows.where} AND {chunk.condition}"
            small = [
                file
                for file in state.files
                if file.name in files
                and file.start == chunk.start
                and file.rows < ARCHIVE_SMALL_ROWS
            ]
            if small:
                both = (part, view.source(small))
                part = (
                    f"({' UNION ALL '.join(f'SELECT {view.names} FROM {each}' for each in both)})"
                )
            for file in small:
                del files[file.name]
            files[name] = parquet.write(self._engine, view, name, part)
        ((new,),) = self._engine.rows(f"SELECT count() FROM {rows}")
        expected = new + state.rows
        if expected != (found := sum(file.rows for file in files.values())):
            raise CorruptError("archive", 0, f"{found} of {expected} events are in its files")
        return tuple(files.values())

    def _check_room(self, rows: Rows) -> None:
        """Refuse early what would fill the disk, which events that come need more."""
        ((needed,),) = self._engine.rows(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE database = currentDatabase() AND "
            "table = 'events' AND active AND toUInt32OrZero(partition) IN "
            f"(SELECT DISTINCT toYYYYMM(timestamp) FROM {rows})"
        )
        OsDirectory(self._directory, create=True)
        free = shutil.disk_usage(self._directory).free
        if free < needed + DISK_RESERVE_BYTES:
            raise UnavailableError(
                f"{free} bytes are free, and archiving needs {needed + DISK_RESERVE_BYTES}", 3_600
            )

    def _first_with_more(self, view: View, rule: Forget, condition: str) -> ArchivedFile | None:
        for file in view.state.files:
            if not file.first_customer <= rule.customer_id <= file.last_customer:
                continue
            query = f"SELECT 1 FROM {view.source([file])} WHERE {condition} LIMIT 1"
            if self._engine.rows(query):
                return file
        return None

    def _rewritten(
        self, view: View, file: ArchivedFile, rule: Forget, condition: str
    ) -> ArchivedFile:
        name = _name(int(file.month.replace("-", "")), view.state.generation + 1, 1)
        metadata = f"if({condition}, {rule.staying()}, metadata)"
        return parquet.write(self._engine, view, name, view.source([file]), metadata=metadata)

    def _put(self, state: Archived, files: tuple[ArchivedFile, ...]) -> None:
        generation = state.generation + 1
        self._archive.put(msgspec.structs.replace(state, generation=generation, files=files))

    def _clean(self, wait_s: float) -> bool:
        return leftovers.remove(self._engine, self._writing, self._archive, wait_s)

    @property
    def _directory(self) -> Path:
        assert self._archive.directory is not None, "callers have looked"
        return self._archive.directory


def _name(month: int, generation: int, place: int) -> str:
    return f"events-{month // 100}-{month % 100:02d}-{generation:06d}-{place:03d}.parquet"
