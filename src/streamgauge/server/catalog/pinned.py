"""The catalog's file as it was at one instant, copied while others go on writing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from streamgauge.core.errors import UnavailableError, UnsupportedError
from streamgauge.server.catalog.database import Database
from streamgauge.server.catalog.sqlite import SqliteDatabase

T = TypeVar("T")


class Pinned:
    """What a connection to the file sees from now on; close it soon, or the file grows."""

    def __init__(self, reader: sqlite3.Connection) -> None:
        self._reader = reader

    def copy(self, path: Path) -> None:
        """Write it to a file that is not there, durably, readable to us alone.

        Raises:
            UnavailableError: A disk refuses.
        """
        path.touch(mode=0o600, exist_ok=False)
        with _errors(), contextlib.closing(sqlite3.connect(path, isolation_level=None)) as copy:
            self._reader.backup(copy)

    def close(self) -> None:
        """Let go of it."""
        self._reader.close()


def pin(database: Database, fix: Callable[[], T]) -> tuple[T, Pinned]:
    """Call ``fix`` while nobody changes the catalog; return what it returned, and the file then.

    Raises:
        ConfigurationError: The file is damaged.
        UnavailableError: Another writer holds the file too long.
        UnsupportedError: The catalog is no file of ours.
    """
    if not isinstance(database, SqliteDatabase):
        raise UnsupportedError(f"the catalog is {database.name}, which has backups of its own")
    with _errors():
        reader = sqlite3.connect(database.name, isolation_level=None, check_same_thread=False)
    try:
        with database.write():
            fixed = fix()
            with _errors():
                reader.execute("BEGIN")
                # Only the first read settles what the connection sees.
                reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        reader.close()
        raise
    return fixed, Pinned(reader)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise UnavailableError(f"the catalog cannot be copied now: {error}") from error
