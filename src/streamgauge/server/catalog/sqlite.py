"""A catalog in a SQLite file: pragmas, and knowing when another process wrote."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from streamgauge.core.errors import ConfigurationError, UnavailableError

# Writers wait for one another this long; a catalog transaction takes milliseconds.
_BUSY_TIMEOUT_S: Final = 10
_PRAGMAS: Final = ("foreign_keys = ON", "synchronous = FULL")
_SWITCH_TRIES: Final = 500


class SqliteDatabase:
    """A ``Database`` in a file that several threads and processes read and write.

    Args:
        path: The file; made, readable to us alone, if it is not there.
    """

    blocks = False

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        path.touch(mode=0o600)
        self._engine = _engine(path)
        self._watch_lock = threading.Lock()
        with self._said_by_sqlite():
            self._watch = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                _switch_to_wal(self._watch)
            except sqlite3.Error:
                self._watch.close()
                raise

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection whose reads are of one instant.

        Raises:
            ConfigurationError: The file is damaged.
        """
        with self._said_by_sqlite(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose changes are all kept, on disk, or none of them.

        Raises:
            ConfigurationError: The file is damaged.
            UnavailableError: Another writer holds the file too long, or it cannot be written.
        """
        try:
            with self._said_by_sqlite(), self._engine.connect() as plain:
                connection = plain.execution_options(immediate=True)
                with connection.begin():
                    yield connection
        except OperationalError as error:
            raise UnavailableError(f"the catalog cannot be written now: {error.orig}") from error

    def check(self) -> None:
        """Refuse a file that SQLite cannot read.

        Raises:
            ConfigurationError: It is no SQLite file, or a damaged one.
        """
        try:
            with self.read() as connection:
                connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
        except OperationalError as error:
            raise self._unreadable(error) from error

    def change_stamp(self) -> int:
        """Return a number that differs after any commit, of this process or another."""
        with self._watch_lock:
            found: tuple[int] = self._watch.execute("PRAGMA data_version").fetchone()
        return found[0]

    def close(self) -> None:
        """Let go of the file."""
        with self._watch_lock:
            self._watch.close()
        self._engine.dispose()

    @contextlib.contextmanager
    def _said_by_sqlite(self) -> Iterator[None]:
        """Say of a file that SQLite finds damaged, wherever it does, which one it is."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        except DatabaseError as error:
            # Its subclasses tell of rules that a row breaks, and of locks.
            if type(error) is not DatabaseError:
                raise
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"{self.name} cannot be read as a catalog: {error.__cause__ or error}"
        )


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Make readers and the writer not wait for one another, from the first start on.

    Alone of all statements it does not wait for another process that does the same.
    """
    for left in reversed(range(_SWITCH_TRIES)):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or not left:
                raise
            time.sleep(_BUSY_TIMEOUT_S / _SWITCH_TRIES)
        else:
            return


def _engine(path: Path) -> Engine:
    engine = create_engine(
        # Not as text, in which a % or a ? of the path would have a meaning.
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": _BUSY_TIMEOUT_S, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _entry: ConnectionPoolEntry) -> None:  # noqa: ANN401 - the driver's
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        # A writer takes its lock first: upgrading a reader's fails at once, without waiting.
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
