"""The name of a data directory's ingest log, by which a store elsewhere knows who fills it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from streamgauge.core.errors import ConfigurationError
from streamgauge.core.ids import Entropy
from streamgauge.server.layout import ORIGIN

STREAM_NAME: Final = "stream.origin"
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
    if store is None and (data_dir / ORIGIN).exists():
        raise ConfigurationError(
            f"the events of {data_dir} are in a ClickHouse server; give it as --store or "
            "STREAMGAUGE_STORE"
        )
    if store is not None and engine.exists():
        raise ConfigurationError(
            f"{data_dir} has events of its own, in {engine.name}; another store needs a directory "
            "of its own too"
        )


def origin_of(data_dir: Path, *, origin: str | None = None, entropy: Entropy = os.urandom) -> str:
    """Return the name; note it durably if there is none. The caller has the directory's lock.

    Args:
        data_dir: With the ingest log, or with what a process keeps beside one that is elsewhere.
        origin: The name of a log that is elsewhere; a new one is made for a log that is here.
        entropy: Where a new one comes from.

    Raises:
        ConfigurationError: The file holds something else.
    """
    found = _noted(data_dir / ORIGIN, origin or entropy(16).hex())
    if origin is not None and found != origin:
        raise ConfigurationError(
            f"{data_dir} fills its store from the ingest log {found}, and this one is {origin}"
        )
    return found


def check_stream(data_dir: Path, origin: str) -> None:
    """Note durably that the log of this directory is in a stream, or check that it still is.

    Raises:
        ConfigurationError: It is in another stream.
    """
    if (found := _noted(data_dir / STREAM_NAME, origin)) != origin:
        raise ConfigurationError(
            f"the ingest log of {data_dir} is the stream {found}, and this one is {origin}: it was "
            "deleted and made again, or is another one"
        )


def check_no_stream(data_dir: Path) -> None:
    """Refuse to begin a log where the log is in a stream.

    Raises:
        ConfigurationError: It is.
    """
    if (data_dir / STREAM_NAME).exists():
        raise ConfigurationError(
            f"the ingest log of {data_dir} is in NATS; give it as --log or STREAMGAUGE_INGEST_LOG"
        )


def _noted(path: Path, origin: str) -> str:
    """Return what a file holds; durably ``origin``, if it was not there.

    Raises:
        ConfigurationError: It is no name of a log.
    """
    if not path.exists():
        beside = path.with_name(f"{path.name}.new")
        with beside.open("w") as file:
            file.write(f"{origin}\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    found = path.read_text().strip()
    if not _ORIGIN.fullmatch(found):
        raise ConfigurationError(f"{path} must hold 32 hexadecimal digits; restore it")
    return found
