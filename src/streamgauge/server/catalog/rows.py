"""Rows of one table in one business: insert, get, list, update, always inside a mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, insert, select, update

from streamgauge.core.errors import NotFoundError
from streamgauge.server.catalog.database import Database
from streamgauge.server.catalog.texts import EVERYTHING, Page

Row = Mapping[str, Any]


def plain(row: RowMapping, **shaped: object) -> dict[str, Any]:
    """Return a row with plain texts as keys, some of its values replaced by ``shaped``."""
    return {str(name): value for name, value in row.items()} | shaped


class Rows:
    """One table, seen from one business.

    Args:
        database: Where it is.
        business_id: Whose rows; no other row is ever seen or changed.
        table: Which table.
        key: Its id column.
        kind: What a row is called in errors.
    """

    def __init__(
        self, database: Database, business_id: str, table: Table, *, key: str, kind: str
    ) -> None:
        self.database = database
        self.business_id = business_id
        self.table = table
        self._key = table.c[key]
        self._kind = kind

    def insert(self, connection: Connection, row: Row) -> None:
        """Add a row; ``row`` names its mode."""
        connection.execute(insert(self.table).values(business_id=self.business_id, **row))

    def find(self, connection: Connection, mode: str, id: str) -> RowMapping | None:
        """Return a row, or None."""
        query = select(self.table).where(self._mine(mode), self._key == id)
        return connection.execute(query).mappings().one_or_none()

    def get(self, mode: str, id: str) -> RowMapping:
        """Return a row.

        Raises:
            NotFoundError: No row has this id.
        """
        with self.database.read() as connection:
            return self.demand(connection, mode, id)

    def demand(self, connection: Connection, mode: str, id: str) -> RowMapping:
        """Return a row, within a transaction.

        Raises:
            NotFoundError: No row has this id.
        """
        row = self.find(connection, mode, id)
        if row is None:
            raise NotFoundError(self._kind, id)
        return row

    def list(
        self, mode: str | None, where: Sequence[ColumnElement[bool]], page: Page
    ) -> Sequence[RowMapping]:
        """Return rows, oldest first, so that a walk over pages misses none that existed before.

        Args:
            mode: Of this mode; of both if None.
            where: Further conditions.
            page: Which part.
        """
        query = (
            select(self.table)
            .where(self._mine(mode), *where)
            .order_by(self.table.c.created_at, self._key)
        )
        if page is not EVERYTHING:
            query = query.limit(page.size).offset(page.offset)
        with self.database.read() as connection:
            return connection.execute(query).mappings().all()

    def update(self, connection: Connection, mode: str, id: str, changes: Row) -> RowMapping:
        """Change a row and return it as it is now.

        Raises:
            NotFoundError: No row has this id.
        """
        if changes:
            mine = (self._mine(mode), self._key == id)
            connection.execute(update(self.table).where(*mine).values(**changes))
        return self.demand(connection, mode, id)

    def _mine(self, mode: str | None) -> ColumnElement[bool]:
        mine: ColumnElement[bool] = self.table.c.business_id == self.business_id
        return mine if mode is None else mine & (self.table.c.mode == mode)
