"""The data directory's secret: 32 random bytes in a file of mode 0600."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import tempfile
from pathlib import Path
from typing import Final

from streamgauge.core.errors import ConfigurationError
from streamgauge.core.ids import Entropy
from streamgauge.server.layout import SECRET

_SECRET_BYTES: Final = 32


def open_secret(directory: Path, *, may_create: bool, entropy: Entropy = os.urandom) -> bytes:
    """Return the secret; make it if nothing depends on an earlier one.

    Args:
        directory: The data directory.
        may_create: No key was made yet. A new secret would silently revoke every key.
        entropy: Gives random bytes.

    Raises:
        ConfigurationError: It is missing though keys exist, or it is not 32 bytes.
    """
    path = directory / SECRET
    if may_create and not path.exists():
        _create(path, entropy(_SECRET_BYTES))
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} is missing and the catalog's keys depend on it; restore it from a backup, or "
            "copy it from a process that has it"
        ) from None
    if len(secret) != _SECRET_BYTES:
        raise ConfigurationError(f"{path} has {len(secret)} bytes; it must have {_SECRET_BYTES}")
    return secret


def derived(secret: bytes, purpose: str) -> bytes:
    """Return a key of 32 bytes for one purpose, so that uses never mix."""
    return hmac.digest(secret, purpose.encode(), hashlib.sha256)


def _create(path: Path, secret: bytes) -> None:
    """Write beside and link: another process sees the whole file or none, and the first wins."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    beside = Path(name)
    try:
        os.write(fd, secret)
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(beside)
    finally:
        beside.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
