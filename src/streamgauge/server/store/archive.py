"""The states of an archive of events, and who reads by which of them.

An archive has a frontier, an instant and a log position. Events before both are in Parquet files,
all others in the table ``events``. Whoever reads holds one state of the archive; files and rows
that only earlier states need go when nobody holds one of those.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from streamgauge.core.errors import ConfigurationError, CorruptError
from streamgauge.server import archived as states
from streamgauge.server.archived import Archived, ArchivedFile
from streamgauge.server.store import schema
from streamgauge.server.store.engine import Engine
from streamgauge.server.store.view import Found, View, check_directory

_log: Final = logging.getLogger("streamgauge.server.store")


class Archive:
    """The states of an archive; any thread reads, one at a time changes it.

    Args:
        engine: Where events are.
        writing: Held by whoever inserts, and while the state changes.
        directory: Where the files are, made when there is one; None if there is no archive.

    Raises:
        ConfigurationError: A newer release wrote the archive, its copy is damaged, or the engine
            cannot be told to read files of that directory.
        UnavailableError: The engine refuses.
    """

    def __init__(self, engine: Engine, writing: threading.Lock, directory: Path | None) -> None:
        self._engine = engine
        self._writing = writing
        self.directory = directory
        self._changed = threading.Condition()
        self._readers = Counter[int]()
        self._columns: list[tuple[str, str]] = []
        self._sound: set[Found] = set()
        self.state = Archived()
        if engine.directory is None:
            return
        engine.define(schema.ARCHIVE)
        self._columns = [
            (name, type)
            for name, type in engine.rows(
                "SELECT name, type FROM system.columns WHERE database = currentDatabase() "
                "AND table = 'events' ORDER BY position"
            )
        ]
        self.load()
        for file in self.missing():
            _log.error("the archive in %s lacks %s", directory, file.name)

    def missing(self) -> list[ArchivedFile]:
        """Return the files that are not there, or not whole."""
        if self.directory is None:
            return []
        return states.missing(self.directory, self.state)

    @contextlib.contextmanager
    def reading(self) -> Iterator[View]:
        """Hold the state of this instant."""
        with self._changed:
            state = self.state
            self._readers[state.generation] += 1
        try:
            yield View(state, self.directory, self._columns, self._sound)
        finally:
            with self._changed:
                self._readers[state.generation] -= 1
                self._changed.notify_all()

    def unread(self, wait_s: float) -> bool:
        """Return whether nobody holds an earlier state, after at most so long."""
        with self._changed:
            return self._changed.wait_for(self._is_unread, wait_s)

    def load(self) -> None:
        """Take the newest state that the engine has; a ``put`` that failed may have got there.

        The copy is never the newer one, unless the engine lost its state: a part of it that cannot
        be read is left out without a word. Then the copy is put back, since by an older state the
        files that this one names would be nobody's.

        Raises:
            ConfigurationError: A newer release wrote it, the copy is damaged, or the engine cannot
                be told to read files of that directory.
            UnavailableError: The engine refuses.
        """
        query = "SELECT state FROM archive ORDER BY generation DESC LIMIT 1"
        newest = next((states.decode(text) for (text,) in self._engine.rows(query)), Archived())
        if self.directory is not None:
            copy = self._copy(self.directory)
            if copy.generation > newest.generation:
                _log.error("the engine lost what is archived; it is taken from %s", states.MANIFEST)
                with self._writing:
                    self._insert(copy)
                newest = copy
            if newest.files:
                check_directory(self.directory)
        with self._changed:
            self.state = newest

    def _copy(self, directory: Path) -> Archived:
        try:
            return states.read(directory)
        except CorruptError as error:
            raise ConfigurationError(
                f"{directory / states.MANIFEST} is damaged; take it from a backup, or, if the "
                f"engine is known to be whole, remove it: {error}"
            ) from error

    def put(self, state: Archived) -> None:
        """Make ``state`` the one that is read from now on, durably; its files are synced.

        Raises:
            UnavailableError: The engine refuses; ``load`` tells whether it took the state.
            OSError: The copy beside the files cannot be written; the state is in force.
        """
        with self._writing:
            self._insert(state)
            with self._changed:
                self.state = state
        self.write_copy()

    def write_copy(self) -> None:
        """Put the state beside its files.

        Raises:
            OSError: The disk refuses.
        """
        if self.directory is not None and self.state.generation:
            states.write(self.directory, self.state)

    def _insert(self, state: Archived) -> None:
        row = {"generation": state.generation, "state": states.encode(state).decode()}
        self._engine.insert("archive", msgspec.json.encode(row), f"archive:{state.generation}")

    def _is_unread(self) -> bool:
        current = self.state.generation
        return not any(count for held, count in self._readers.items() if held < current)
