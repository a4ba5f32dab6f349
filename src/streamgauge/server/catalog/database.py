"""What the catalog asks of its database, a file beside the data or a server of a cluster."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection


class Database(Protocol):
    """Transactions, from several threads and processes at once.

    Attributes:
        name: What errors call it; without a password.
        blocks: Its answers cross a network, so an event loop must not wait for them.
    """

    name: str
    blocks: bool

    def read(self) -> AbstractContextManager[Connection]:
        """Give a connection whose reads are of one instant.

        Raises:
            ConfigurationError: The database is damaged.
            UnavailableError: It cannot be reached.
        """
        ...

    def write(self) -> AbstractContextManager[Connection]:
        """Give a connection whose changes are all kept, on disk, or none; one writer at a time.

        Raises:
            ConfigurationError: The database is damaged.
            UnavailableError: Another writer holds it too long, or it cannot be written now.
        """
        ...

    def check(self) -> None:
        """Refuse a database that the catalog cannot rely on.

        Raises:
            ConfigurationError: It is damaged, or of another kind.
            UnavailableError: It cannot be reached.
        """
        ...

    def change_stamp(self) -> int | None:
        """Return a number that differs after any commit, of this process or another.

        None where only the rows themselves tell.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
