"""The name of a data directory's ingest log, by which a store elsewhere knows who fills it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from streamgauge.core.errors import ConfigurationError
from streamgauge.core.ids import Entropy

FILE_NAME: Final = "log.origin"
_ORIGIN: Final = re.compile(r"[0-9a-f]{32}")


def check_place(data_dir: Path, engine: Path, store: str | None) -> None:
    """Refuse to fill a second store from a directory whose events are in another one.

    Args:
        data_dir: With the ingest log.
        engine: Where the engine in this process keeps its files.
        store: What is asked for; None for the engine in this process.

    Raises:
        ConfigurationError: The directory's events are elsewhere, or here.
    """
    if store is None and (data_dir / FILE_NAME).exists():
        raise ConfigurationError(
            f"the events of {data_dir} are in a ClickHouse server; give it as --store or "
            "STREAMGAUGE_STORE"
        )
    if store is not None and engine.exists():
        raise ConfigurationError(
            f"{data_dir} has events of its own, in {engine.name}; another store needs a directory "
            "of its own too"
        )


def origin_of(data_dir: Path, *, entropy: Entropy = os.urandom) -> str:
    """Return the name; make it durably if there is none. The caller has the directory's lock.

    Raises:
        ConfigurationError: The file holds something else.
    """
    path = data_dir / FILE_NAME
    if not path.exists():
        beside = path.with_name(f"{FILE_NAME}.new")
        with beside.open("w") as file:
            file.write(f"{entropy(16).hex()}\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        directory = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    found = path.read_text().strip()
    if not _ORIGIN.fullmatch(found):
        raise ConfigurationError(f"{path} must hold 32 hexadecimal digits; restore it")
    return found
