"""A held state into a backup: every file with its checksum, the manifest last."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from streamgauge.core import checksums
from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import CorruptError, InvalidInputError
from streamgauge.server import archived as states
from streamgauge.server.backup import manifest
from streamgauge.server.backup.holding import STORE, Held
from streamgauge.server.backup.manifest import Entry, Manifest
from streamgauge.server.layout import ARCHIVE, IDS

# What never changes once it is written; the others are copied, so that the two share no byte.
_LINKED: Final = frozenset({STORE, IDS, ARCHIVE})
_NO_LINKS: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})


def check_destination(destination: Path, data_dir: Path) -> None:
    """Refuse where no backup can be made.

    Raises:
        InvalidInputError: It holds something, is no directory, or is within the data directory.
    """
    where = destination.absolute()
    if where.resolve().is_relative_to(data_dir.resolve()):
        raise InvalidInputError("DEST", str(destination), "be outside the data directory")
    if where.exists() and not where.is_dir():
        raise InvalidInputError("DEST", str(destination), "be a directory, or not be there")
    if where.exists() and any(where.iterdir()):
        raise InvalidInputError("DEST", str(destination), "be empty, or not be there")


def copy(source: Path, held: Held, destination: Path, progress: Callable[[int], None]) -> Manifest:
    """Make a backup of the state held in ``source``; on any failure nothing of it is left.

    Args:
        source: The directory of the state.
        held: What the server said of it.
        destination: Empty, or not there.
        progress: Called with the bytes that are done, now and then.

    Raises:
        CorruptError: A file of archived events is not what was written.
        OSError: The disk refuses.
    """
    made = not destination.exists()
    OsDirectory(destination, create=True)
    try:
        state = states.read(source / ARCHIVE)
        archived = {f"{ARCHIVE}/{file.name}": file.blake2b for file in state.files}
        done, entries = 0, list[Entry]()
        for path in _files(source):
            entry = _take(source, path, destination)
            _check_archived(archived, entry)
            entries.append(entry)
            done += entry.size
            progress(done)
        _sync_directories(destination)
        whole = Manifest(format=manifest.FORMAT, held=held, files=entries)
        manifest.write(destination, whole)
    except BaseException:
        for path in destination.iterdir():
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if made:
            with contextlib.suppress(OSError):
                destination.rmdir()
        raise
    return whole


def _files(root: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(root):
        names.sort()
        for name in sorted(files):
            yield (Path(directory) / name).relative_to(root)


def _take(source: Path, path: Path, destination: Path) -> Entry:
    to = destination / path
    for parent in reversed(path.parents):
        with contextlib.suppress(FileExistsError):
            (destination / parent).mkdir(mode=0o700)
    linked = path.parts[0] in _LINKED and _linked(source / path, to)
    size, digest = checksums.copied(source / path, None if linked else to)
    return Entry(path=path.as_posix(), size=size, blake2b=digest)


def _check_archived(archived: Mapping[str, str], entry: Entry) -> None:
    if archived.get(entry.path, entry.blake2b) != entry.blake2b:
        raise CorruptError(entry.path, 0, "the checksum of the archive does not match")


def _linked(source: Path, to: Path) -> bool:
    try:
        to.hardlink_to(source)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    to.chmod(0o600)
    return True


def _sync_directories(root: Path) -> None:
    for directory, _, _ in os.walk(root):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
