# ruff: noqa: S608 - Values go through compile.literal; the rest is our own text.
"""Where events are read from: the engine's table, and the archive's files where they matter."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from streamgauge.core.clock import to_ns
from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.server import archived as states
from streamgauge.server.archived import Archived, ArchivedFile
from streamgauge.server.metering import compile as compiled

_log: Final = logging.getLogger("streamgauge.server.store")
# The engine takes them for patterns, and a path has no way to say that they are none.
_PATTERNS: Final = frozenset("*?{}[]")


class Rows(NamedTuple):
    """Events, as SQL behind FROM.

    Attributes:
        table: A table or a subquery.
        where: Which of its rows.
    """

    table: str
    where: str

    def __str__(self) -> str:
        return f"{self.table} WHERE {self.where}"


Found = tuple[str, int, int, int]
"""A file as it was found: its name, inode, time of change in nanoseconds, and size."""


class View:
    """One state of an archive, held by who reads.

    Args:
        state: It.
        directory: Where its files are.
        columns: Of ``events``: names and types.
        sound: What was read before and found as it was written; more is added.
    """

    def __init__(
        self,
        state: Archived,
        directory: Path | None,
        columns: Sequence[tuple[str, str]],
        sound: set[Found],
    ) -> None:
        self.state = state
        self._sound = sound
        self._directory = directory
        self._names = ", ".join(name for name, _ in columns)
        self._structure = compiled.literal(", ".join(f"{name} {type}" for name, type in columns))

    def rows(
        self,
        condition: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        after: int | None = None,
        customer_id: str | None = None,
    ) -> Rows:
        """Return the events that fit ``condition``, wherever they are.

        Args:
            condition: SQL over the columns of ``events``.
            start: If given, all that fits has this timestamp or a later one.
            end: If given, all that fits has an earlier timestamp.
            after: If given, all that fits has a later log position.
            customer_id: If given, all that fits is this customer's.

        Raises:
            UnavailableError: A file that may hold some of them is missing or damaged.
        """
        if not self._reaches(start, after):
            return Rows("events", condition)
        hot = f"({condition}) AND NOT {below(self.state)}"
        files = [
            file
            for file in self.state.files
            if (start is None or to_ns(start) < to_ns(file.end))
            and (end is None or to_ns(file.start) < to_ns(end))
            and (after is None or file.last_position > after)
            and (customer_id is None or file.first_customer <= customer_id <= file.last_customer)
        ]
        if not files:
            return Rows("events", hot)
        return Rows(
            f"(SELECT {self._names} FROM events WHERE {hot} UNION ALL "
            f"SELECT {self._names} FROM {self.source(files)} WHERE {condition})",
            "1",
        )

    def source(self, files: Sequence[ArchivedFile]) -> str:
        """Return the SQL of files of this state as one table.

        Raises:
            UnavailableError: One is missing or damaged.
        """
        # Of a list of names the engine would leave out those that are not there, without a word.
        self._refuse([file for file in files if not self._is_as_written(file)])
        names = ",".join(file.name for file in files)
        return self.file(names if len(files) == 1 else f"{{{names}}}")

    def file(self, name: str) -> str:
        """Return the SQL of a file of the directory, of whatever state, as a table."""
        path = compiled.literal(str(self.directory / name))
        return f"file({path}, 'Parquet', {self._structure})"

    @property
    def directory(self) -> Path:
        """Return where the files are.

        Raises:
            UnavailableError: Nobody said.
        """
        if self._directory is None:
            raise UnavailableError("older events are archived, and the archive is not here")
        return self._directory

    @property
    def names(self) -> str:
        """Return the columns of ``events``, in their order."""
        return self._names

    def _reaches(self, start: datetime | None, after: int | None) -> bool:
        """Return whether anything before the frontier may be asked for."""
        before = self.state.before
        return (
            before is not None
            and (start is None or to_ns(start) < to_ns(before))
            and (after is None or after < self.state.position)
        )

    def check(self) -> None:
        """Refuse to go on where a file of this state is not there, or not whole.

        Raises:
            UnavailableError: One is missing or damaged.
        """
        self._refuse(states.missing(self.directory, self.state))

    def _is_as_written(self, file: ArchivedFile) -> bool:
        """Return whether a file is what was written, by every byte of it.

        A file says of itself which of its parts matter to a question, under no checksum of its own.
        So all of it is read before the first question, and again if it was changed since.
        """
        try:
            status = (self.directory / file.name).stat()
            found = (file.name, status.st_ino, status.st_mtime_ns, status.st_size)
            if found not in self._sound and states.is_sound(self.directory, file):
                self._sound.add(found)
        except OSError as error:
            _log.error("%s cannot be read: %s", file.name, error)
            return False
        return found in self._sound

    def _refuse(self, files: Sequence[ArchivedFile]) -> None:
        if not files:
            return
        names = ", ".join(file.name for file in files)
        _log.error("the archive in %s lacks %s, or it is damaged", self.directory, names)
        months = ", ".join(sorted({file.month for file in files}))
        raise UnavailableError(
            f"archived events of {months} cannot be read: files are missing or damaged", 60
        )


def below(state: Archived) -> str:
    """Return the SQL predicate of the events before the frontier of ``state``."""
    if state.before is None:
        return "(0)"
    return f"(timestamp < {instant(state.before)} AND log_position <= {state.position})"


def instant(at: datetime) -> str:
    """Return an instant as SQL."""
    return f"fromUnixTimestamp64Micro({to_ns(at) // 1_000}, 'UTC')"


def check_directory(directory: Path) -> None:
    """Refuse a place whose files the engine could not be told to read.

    Raises:
        ConfigurationError: Its path holds what the engine takes for a pattern.
    """
    if found := _PATTERNS & set(str(directory)):
        raise ConfigurationError(
            f"events cannot be archived in {directory}: its path must hold no "
            f"{' and no '.join(sorted(found))}"
        )
