"""What a backup says of itself: written last, so that a backup without it is not whole."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec

from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import ConfigurationError, CorruptError
from streamgauge.server.backup.holding import Held

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
_CHUNK_BYTES: Final = 1024 * 1024
_DIGEST_BYTES: Final = 32


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


class _Sealed(msgspec.Struct, frozen=True, kw_only=True):
    blake2b: str
    manifest: msgspec.Raw


def write(directory: Path, manifest: Manifest) -> None:
    """Make a backup whole, durably."""
    text = msgspec.json.encode(manifest)
    sealed = _Sealed(blake2b=_new(text).hexdigest(), manifest=msgspec.Raw(text))
    OsDirectory(directory).replace(MANIFEST, msgspec.json.encode(sealed))


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
    try:
        sealed = msgspec.json.decode(data, type=_Sealed)
    except msgspec.DecodeError as error:
        raise CorruptError(MANIFEST, 0, str(error)) from error
    if _new(bytes(sealed.manifest)).hexdigest() != sealed.blake2b:
        raise CorruptError(MANIFEST, 0, "the checksum does not match")
    found = msgspec.json.decode(sealed.manifest)["format"]
    if found != FORMAT:
        raise ConfigurationError(
            f"{directory} is a backup of format {found}, this release knows format {FORMAT}; "
            "restore it with the release that made it, or a newer one"
        )
    return msgspec.json.decode(sealed.manifest, type=Manifest)


def copied(source: Path, path: Path | None) -> tuple[int, str]:
    """Return size and checksum of ``source``, and write it to a new file, durably, unless None."""
    digest, size = _new(), 0
    with source.open("rb") as file:
        if path is None:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
            return size, digest.hexdigest()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as target:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += target.write(chunk)
            target.flush()
            os.fsync(fd)
    return size, digest.hexdigest()


def _new(data: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES)
