"""A backup into a data directory that a server opens as if nothing had happened."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from streamgauge.core import checksums
from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import ConfigurationError, CorruptError, InvalidInputError
from streamgauge.core.files import hold
from streamgauge.server.backup import manifest
from streamgauge.server.backup.holding import STORE
from streamgauge.server.backup.manifest import Entry, Manifest
from streamgauge.server.layout import ENGINE, LOCK, RESTORING
from streamgauge.server.store import frozen


def restore(backup: Path, data_dir: Path, progress: Callable[[int], None]) -> Manifest:
    """Put the state of ``backup`` into ``data_dir``; every byte is checked on the way.

    ``RESTORING`` is left in it, with which no server starts, until ``finished`` is entered.

    Args:
        backup: What ``copying.copy`` made; it is left as it is.
        data_dir: Empty, or not there.
        progress: Called with the bytes that are done, now and then.

    Raises:
        ConfigurationError: It is no whole backup.
        InvalidInputError: ``data_dir`` holds something.
        CorruptError: A file of the backup is not what was written.
        LockedError: Another process works on ``data_dir``.
        OSError: The disk refuses.
    """
    whole = manifest.read(backup)
    _check_there(backup, whole)
    _check_empty(data_dir)
    directory = OsDirectory(data_dir, create=True)
    lock = hold(directory, LOCK, f"the data directory {data_dir}")
    try:
        _mark(directory, backup)
        copying = _Copying(backup, data_dir, progress)
        parts = dict[tuple[str, str], list[Entry]]()
        for entry in whole.files:
            path = _safe(entry.path)
            if path.parts[0] == STORE:
                _, table, part, *_ = path.parts
                parts.setdefault((table, part), []).append(entry)
            else:
                copying.take(entry, data_dir / path)

        def put(table: str, part: str, into: Path) -> None:
            for entry in parts[table, part]:
                copying.take(entry, into / PurePosixPath(*_safe(entry.path).parts[3:]))

        dsn = f"chdb://{data_dir.absolute() / ENGINE}"
        frozen.bring(dsn, parts, put, whole.held.stored)
    finally:
        lock.release()
    return whole


@contextlib.contextmanager
def finished(backup: Path, data_dir: Path) -> Iterator[None]:
    """Let servers open ``data_dir``, unless the block fails."""
    directory = OsDirectory(data_dir)
    directory.remove(RESTORING)
    directory.sync()
    try:
        yield
    except BaseException:
        _mark(directory, backup)
        raise


def check_finished(data_dir: Path) -> None:
    """Refuse a directory that a restore has not finished.

    Raises:
        ConfigurationError: It has not.
    """
    if (data_dir / RESTORING).exists():
        backup = (data_dir / RESTORING).read_text().strip()
        raise ConfigurationError(
            f"{data_dir} is an interrupted restore of {backup}: remove it, and restore again"
        )


def _mark(directory: OsDirectory, backup: Path) -> None:
    directory.replace(RESTORING, f"{backup}\n".encode())


class _Copying:
    def __init__(self, backup: Path, data_dir: Path, progress: Callable[[int], None]) -> None:
        self._backup = backup
        self._data_dir = data_dir
        self._progress = progress
        self._done = 0

    def take(self, entry: Entry, to: Path) -> None:
        """Copy a file, with the directories above it.

        Raises:
            CorruptError: It is not what the manifest says.
        """
        missing = [each for each in to.parents if not each.exists()]
        for directory in reversed(missing):
            directory.mkdir(mode=0o700)
        size, digest = checksums.copied(self._backup / entry.path, to)
        if (size, digest) != (entry.size, entry.blake2b):
            raise CorruptError(entry.path, 0, "the checksum of the backup does not match")
        self._done += size
        self._progress(self._done)


def _safe(path: str) -> PurePosixPath:
    """Return a path of a manifest if it stays within its backup.

    Raises:
        CorruptError: It does not.
    """
    found = PurePosixPath(path)
    if found.is_absolute() or ".." in found.parts or not found.parts:
        raise CorruptError(manifest.MANIFEST, 0, f"it names {path!r}")
    return found


def _check_there(backup: Path, whole: Manifest) -> None:
    for entry in whole.files:
        path = backup / _safe(entry.path)
        if not path.is_file():
            raise CorruptError(entry.path, 0, f"it is not in the backup {backup}")
        if (size := path.stat().st_size) != entry.size:
            raise CorruptError(entry.path, min(size, entry.size), f"it has {size} bytes")


def _check_empty(data_dir: Path) -> None:
    if not data_dir.exists():
        return
    if not data_dir.is_dir():
        raise InvalidInputError("--data-dir", str(data_dir), "be a directory, or not be there")
    if (data_dir / RESTORING).exists():
        rule = "be empty, or not be there; an interrupted restore is in it, which may be removed"
        raise InvalidInputError("--data-dir", str(data_dir), rule)
    if any(data_dir.iterdir()):
        raise InvalidInputError("--data-dir", str(data_dir), "be empty, or not be there")
