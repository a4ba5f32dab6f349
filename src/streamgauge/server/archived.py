"""What an archive of events says of itself: its frontier and its files.

The engine's table ``archive`` has it; a copy is in ``archive/manifest.json`` of the data directory,
for backups, checks, and whoever reads the files without a server.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from streamgauge.core.checksums import copied, seal, unseal
from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import ConfigurationError

MANIFEST: Final = "manifest.json"
PATTERN: Final = "events-*.parquet*"
"""Every file of events in the directory, those included that were never finished."""
_FORMAT: Final = 1


class ArchivedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A Parquet file of events of one UTC month; it never changes.

    Attributes:
        name: Its name in the directory.
        month: The month of its events, such as ``2026-03``.
        rows: How many events it holds.
        size: Its length in bytes.
        blake2b: Its checksum, 32 bytes in hex.
        first_customer: The first of its customer ids, by bytes.
        last_customer: The last of them.
        first_position: The first of its log positions.
        last_position: The last of them.
    """

    name: str
    month: str
    rows: int
    size: int
    blake2b: str
    first_customer: str
    last_customer: str
    first_position: int
    last_position: int

    @property
    def start(self) -> datetime:
        """Return the start of the month."""
        return month_start(*map(int, self.month.split("-")))

    @property
    def end(self) -> datetime:
        """Return the end of the month, which is not in it."""
        year, month = map(int, self.month.split("-"))
        return month_start(year, month + 1)


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """One state of an archive. What is before its frontier is in its files, and nowhere else.

    Attributes:
        format: Of this struct and of the files.
        generation: Counts states; 0 before the first.
        before: The frontier in time, the start of a UTC month; None before the first state.
        position: The frontier in the log: later events of earlier months are not archived yet.
        files: All of them.
    """

    format: int = _FORMAT
    generation: int = 0
    before: datetime | None = None
    position: int = 0
    files: tuple[ArchivedFile, ...] = ()

    @property
    def rows(self) -> int:
        """Return how many events are archived."""
        return sum(file.rows for file in self.files)

    @property
    def size_bytes(self) -> int:
        """Return the length of all files together."""
        return sum(file.size for file in self.files)

    @property
    def newest(self) -> int:
        """Return the last log position of an archived event, 0 for none."""
        return max((file.last_position for file in self.files), default=0)


def month_start(year: int, month: int) -> datetime:
    """Return the start of a UTC month; month 13 is the first of the next year."""
    return datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC)


def encode(archived: Archived) -> bytes:
    """Return a state as JSON text."""
    return msgspec.json.encode(archived)


def decode(text: bytes | str) -> Archived:
    """Return the state of a JSON text.

    Raises:
        ConfigurationError: A newer release wrote it.
    """
    found = msgspec.json.decode(text)["format"]
    if found != _FORMAT:
        raise ConfigurationError(
            f"the archive of events has format {found}, this release knows format {_FORMAT}; "
            "run the release that wrote it, or a newer one"
        )
    return msgspec.json.decode(text, type=Archived)


def write(directory: Path, archived: Archived) -> None:
    """Put a state beside its files, durably, unless it is there.

    Raises:
        OSError: The disk refuses.
    """
    data, path = seal(encode(archived)), directory / MANIFEST
    if not path.exists() or path.read_bytes() != data:
        OsDirectory(directory, create=True).replace(MANIFEST, data)


def read(directory: Path) -> Archived:
    """Return the state beside the files of ``directory``; an empty one if there is none.

    Raises:
        ConfigurationError: A newer release wrote it.
        CorruptError: It is damaged.
    """
    try:
        data = (directory / MANIFEST).read_bytes()
    except FileNotFoundError:
        return Archived()
    return decode(unseal(MANIFEST, data))


def missing(directory: Path, archived: Archived) -> list[ArchivedFile]:
    """Return the files that are not there, or not whole."""
    return [file for file in archived.files if _size(directory / file.name) != file.size]


def damaged(directory: Path, archived: Archived) -> Iterator[ArchivedFile]:
    """Yield the files that are not what was written; every byte is read.

    Raises:
        OSError: The disk refuses.
    """
    for file in archived.files:
        if not is_sound(directory, file):
            yield file


def is_sound(directory: Path, file: ArchivedFile) -> bool:
    """Return whether a file is what was written; every byte is read.

    Raises:
        OSError: The disk refuses.
    """
    path = directory / file.name
    return _size(path) == file.size and copied(path, None) == (file.size, file.blake2b)


def leftovers(directory: Path, archived: Archived) -> list[Path]:
    """Return the files of events that the state does not name."""
    named = {file.name for file in archived.files}
    return [path for path in sorted(directory.glob(PATTERN)) if path.name not in named]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
