"""Checksums: of files as they are copied, and of texts that carry their own."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec

from streamgauge.core.errors import CorruptError

_CHUNK_BYTES: Final = 1024 * 1024
_DIGEST_BYTES: Final = 32


class _Sealed(msgspec.Struct, frozen=True, kw_only=True):
    blake2b: str
    manifest: msgspec.Raw


def seal(text: bytes) -> bytes:
    """Return a JSON text with its checksum beside it."""
    sealed = _Sealed(blake2b=_new(text).hexdigest(), manifest=msgspec.Raw(text))
    return msgspec.json.encode(sealed)


def unseal(name: str, data: bytes) -> bytes:
    """Return the text that ``seal`` was given.

    Args:
        name: What the error calls it.
        data: What ``seal`` returned.

    Raises:
        CorruptError: It is something else.
    """
    try:
        sealed = msgspec.json.decode(data, type=_Sealed)
    except msgspec.DecodeError as error:
        raise CorruptError(name, 0, str(error)) from error
    if _new(bytes(sealed.manifest)).hexdigest() != sealed.blake2b:
        raise CorruptError(name, 0, "the checksum does not match")
    return bytes(sealed.manifest)


def copied(source: Path, path: Path | None) -> tuple[int, str]:
    """Return size and BLAKE2b of ``source`` (32 bytes in hex), as ``b2sum -l 256`` does.

    Args:
        source: The file.
        path: Where to write it as a new file, durably; None for nowhere.

    Raises:
        OSError: The disk refuses.
    """
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
