"""One state of a running server, held as files until somebody has copied it.

The state is that of one place in the log. All of it is fixed on the writer's thread, where the
store holds whole segments: the known ids first, since they must not name an event from behind the
place; then, while nobody changes the catalog, the place itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from streamgauge._version import __version__
from streamgauge.core.clock import Clock, utc
from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import NotFoundError, UnavailableError, UnsupportedError
from streamgauge.core.ids import new_id
from streamgauge.core.segments import name as segment_name
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.pinned import Pinned, pin
from streamgauge.server.ingest.event_path import Cut, EventPath
from streamgauge.server.ingest.snapshot import SnapshotFiles
from streamgauge.server.ingest.wal import MARK, SET_ASIDE
from streamgauge.server.layout import (
    ARCHIVE,
    BACKUP_LOCK,
    BACKUPS,
    CATALOG,
    ENGINE,
    IDS,
    LOG,
    QUARANTINE,
    SECRET,
)
from streamgauge.server.store import EventStore

STORE: Final = "store"
_PREFIX: Final = "bak"
# A snapshot of the known ids is replaced at most every few seconds; a link takes microseconds.
_TRIES: Final = 20


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A state that is held.

    Attributes:
        id: Its name, and its directory's in ``backups`` of the data directory.
        version: The release that holds it.
        business_id: Whose data.
        taken_at: When; aware, UTC.
        segment: The last segment of the log that belongs to it: all events up to its end do.
        stored: How many events the store has of it, with archived ones; the others are in the log
            alone.
    """

    id: str
    version: str
    business_id: str
    taken_at: datetime
    segment: int
    stored: int


class Holder:
    """Holds states of the server on one data directory.

    Args:
        data_dir: None where the server's parts are not in one; then nothing can be held.
        catalog: Of that directory.
        store: As above.
        pipeline: As above.
        clock: Where time comes from.
    """

    def __init__(
        self,
        data_dir: Path | None,
        catalog: Catalog,
        store: EventStore,
        pipeline: EventPath,
        clock: Clock,
    ) -> None:
        self._data_dir = data_dir
        self._catalog = catalog
        self._store = store
        self._pipeline = pipeline
        self._clock = clock

    async def hold(self) -> Held:
        """Return a new state; ``BACKUP_LOCK`` is held by whoever asks, and earlier ones go.

        Raises:
            UnsupportedError: A part of the server is not in the data directory.
            UnavailableError: The store or the disk refuses; asking again makes sense.
        """
        root = self._root()
        await asyncio.to_thread(_remove, root / BACKUPS)
        id = new_id(_PREFIX)
        into = root / BACKUPS / id
        try:
            OsDirectory(root / BACKUPS, create=True).child(id, create=True)
            held, pinned = await self._pipeline.between_inserts(lambda: self._fix(id, into))
            with contextlib.closing(pinned):
                await asyncio.to_thread(pinned.copy, into / CATALOG)
        except OSError as error:
            await asyncio.to_thread(_remove, into)
            raise UnavailableError(f"the state cannot be held: {error}", 30) from error
        except BaseException:
            await asyncio.to_thread(_remove, into)
            raise
        return held

    def release(self, id: str) -> None:
        """Let go of a state.

        Raises:
            NotFoundError: None has this id.
        """
        root = self._root() / BACKUPS
        if id not in (path.name for path in root.glob("*")):
            raise NotFoundError("held backup", id)
        shutil.rmtree(root / id)

    def _root(self) -> Path:
        if self._data_dir is None:
            raise UnsupportedError("the server's parts are not all in its data directory")
        return self._data_dir

    def _fix(self, id: str, into: Path) -> tuple[Held, Pinned]:
        root = self._root()
        for name in (LOG, IDS, QUARANTINE, STORE, ARCHIVE):
            (into / name).mkdir(mode=0o700)
        link_ids(root / IDS, into / IDS)
        (into / SECRET).hardlink_to(root / SECRET)
        (cut, taken_at), pinned = pin(
            self._catalog.database, lambda: (self._pipeline.cut(), utc(self._clock.time_ns()))
        )
        try:
            self._link_log(cut, root / LOG, into / LOG)
            _link_all(root / QUARANTINE, into / QUARANTINE)
            stored = self._store.freeze(id, into / STORE, into / ARCHIVE)
        except BaseException:
            pinned.close()
            raise
        return Held(
            id=id,
            version=__version__,
            business_id=self._catalog.business_id,
            taken_at=taken_at,
            segment=cut.newest,
            stored=stored,
        ), pinned

    @staticmethod
    def _link_log(cut: Cut, log: Path, into: Path) -> None:
        for segment in cut.segments:
            (into / segment_name(segment)).hardlink_to(log / segment_name(segment))
        # The log has no note before its first insert.
        if (log / MARK).exists():
            (into / MARK).hardlink_to(log / MARK)
        if (log / SET_ASIDE).exists():
            _link_all(log / SET_ASIDE, into / SET_ASIDE)


def clear(data_dir: Path) -> None:
    """Remove what a backup left that nobody copies any more; only who has the lock may ask."""
    with free_to_copy(data_dir) as free:
        if free:
            _remove(data_dir / BACKUPS)
            for frozen in (data_dir / ENGINE / "shadow").glob(f"{_PREFIX}_*"):
                _remove(frozen)


@contextlib.contextmanager
def free_to_copy(data_dir: Path) -> Iterator[bool]:
    """Hold the lock of whoever copies, or give False: somebody does."""
    lock = OsDirectory(data_dir).lock(BACKUP_LOCK)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


def link_ids(ids: Path, into: Path) -> None:
    """Link the snapshot of the known ids in force, and what it names.

    Raises:
        OSError: The disk refuses.
    """
    (into / "key").hardlink_to(ids / "key")
    for _ in range(_TRIES):
        try:
            if (ids / "snapshot").exists():
                (into / "snapshot").hardlink_to(ids / "snapshot")
            snapshot = SnapshotFiles(OsDirectory(into)).read()
            for name in filter(None, (*snapshot.digests, snapshot.runs)):
                (into / name).hardlink_to(ids / name)
        except FileNotFoundError:
            # A newer one was put in force meanwhile.
            for path in into.iterdir():
                if path.name != "key":
                    path.unlink()
        else:
            return
    raise UnavailableError("the known ids change too fast to be held", 5)


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


def _link_all(directory: Path, into: Path) -> None:
    into.mkdir(mode=0o700, exist_ok=True)
    for path in directory.iterdir():
        if path.is_file():
            (into / path.name).hardlink_to(path)
