"""What a backup says of itself: written last, so that a backup without it is not whole."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from streamgauge.core.checksums import seal, unseal
from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import ConfigurationError
from streamgauge.server.backup.holding import Held

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a backup.

    Attributes:
        path: Where it is, relative, with slashes.
        size: Its length in bytes.
        blake2b: Its checksum, 32 bytes in hex.
    """

    path: str
    size: int
    blake2b: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All of a backup.

    Attributes:
        format: Of this struct and of the files it names.
        held: The state that was copied.
        files: Every file of it.
    """

    format: int
    held: Held
    files: list[Entry]

    @property
    def size_bytes(self) -> int:
        """Return the length of all files together."""
        return sum(entry.size for entry in self.files)


def write(directory: Path, manifest: Manifest) -> None:
    """Make a backup whole, durably."""
    OsDirectory(directory).replace(MANIFEST, seal(msgspec.json.encode(manifest)))


def read(directory: Path) -> Manifest:
    """Return what the backup in ``directory`` says of itself.

    Raises:
        ConfigurationError: It is no backup, not a whole one, or a newer release's.
        CorruptError: Its manifest is damaged.
    """
    try:
        data = (directory / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigurationError(
            f"{directory} has no {MANIFEST}: it is no backup, or one that was interrupted"
        ) from None
    text = unseal(MANIFEST, data)
    found = msgspec.json.decode(text)["format"]
    if found != FORMAT:
        raise ConfigurationError(
            f"{directory} is a backup of format {found}, this release knows format {FORMAT}; "
            "restore it with the release that made it, or a newer one"
        )
    return msgspec.json.decode(text, type=Manifest)
