"""Customers whose personal data was removed: the tombstone in its place, and a record of each.

Quantities, ids and invoices stay. A record without ``done_at`` says that the events are still to
be gone through, so a process may die anywhere.
"""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Column, Connection, Table, Text, delete, insert, select, update

from streamgauge.core.clock import Clock, utc
from streamgauge.core.errors import ConflictError, UnavailableError
from streamgauge.server.catalog.database import Database
from streamgauge.server.catalog.schema import Instant, customers, metadata, subscriptions
from streamgauge.server.catalog.sqlite import SqliteDatabase

forgotten: Final = Table(
    "forgotten_customers",
    metadata,
    Column("business_id", Text, primary_key=True),
    Column("mode", Text, primary_key=True),
    Column("customer_id", Text, primary_key=True),
    Column("asked_at", Instant),
    Column("done_at", Instant),
)

EMAIL: Final = "forgotten@customer.invalid"
"""A name under which nothing is ever delivered, by RFC 2606."""
_CUSTOMER: Final[dict[str, Any]] = {
    "name": "Forgotten customer",
    "email": EMAIL,
    "phone_number": None,
    "metadata": '{"forgotten":true}',
    "preferred_locale": None,
}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A customer that was, or is being, forgotten.

    Attributes:
        mode: ``test_mode`` or ``live_mode``.
        customer_id: Whom.
        asked_at: When it was asked for last; aware.
        done_at: When everything was gone through; aware; None until then.
    """

    mode: str
    customer_id: str
    asked_at: datetime
    done_at: datetime | None


class Forgotten:
    """The forgotten customers of a business."""

    def __init__(self, database: Database, business_id: str, *, clock: Clock) -> None:
        self._database = database
        self._business_id = business_id
        self._clock = clock

    def begin(self, mode: str, id: str) -> None:
        """Put the tombstone in place, and note that events are to follow; twice is once."""
        now = utc(self._clock.time_ns())
        where = {"business_id": self._business_id, "mode": mode, "customer_id": id}
        with self._database.write() as connection:
            if connection.dialect.name == "sqlite":
                # What is replaced is overwritten in the file, not only out of reach.
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
            connection.execute(update(customers).filter_by(**where).values(**_CUSTOMER))
            _forget_subscriptions(connection, where)
            connection.execute(delete(forgotten).filter_by(**where))
            connection.execute(insert(forgotten).values(**where, asked_at=now, done_at=None))

    def finish(self, mode: str, id: str) -> Record:
        """Note that nothing is left; returns the record.

        Raises:
            UnavailableError: The file still holds what was replaced; asking again makes sense.
        """
        _checkpoint(self._database)
        where = {"business_id": self._business_id, "mode": mode, "customer_id": id}
        with self._database.write() as connection:
            done = utc(self._clock.time_ns())
            connection.execute(update(forgotten).filter_by(**where).values(done_at=done))
            row = connection.execute(select(forgotten).filter_by(**where)).mappings().one()
        return _record(row)

    def unfinished(self) -> list[Record]:
        """Return those whose events are still to be gone through."""
        query = select(forgotten).where(
            forgotten.c.business_id == self._business_id, forgotten.c.done_at.is_(None)
        )
        with self._database.read() as connection:
            return [_record(row) for row in connection.execute(query).mappings()]


def check_remembered(connection: Connection, business_id: str, mode: str, id: str) -> None:
    """Refuse to give a forgotten customer personal data again.

    Raises:
        ConflictError: The customer was forgotten.
    """
    where = {"business_id": business_id, "mode": mode, "customer_id": id}
    if connection.execute(select(forgotten).filter_by(**where)).first() is not None:
        raise ConflictError(f"the customer {id!r} was forgotten; its data stays empty")


def _forget_subscriptions(connection: Connection, where: dict[str, str]) -> None:
    rows = connection.execute(select(subscriptions).filter_by(**where)).mappings().all()
    for row in rows:
        # The country decides which law a bill was written under.
        country = msgspec.json.decode(row["billing"])["country"]
        connection.execute(
            update(subscriptions)
            .filter_by(**where, subscription_id=row["subscription_id"])
            .values(
                billing=msgspec.json.encode({"country": country}).decode(),
                metadata="{}",
                tax_id=None,
                cancellation_comment=None,
            )
        )


def _checkpoint(database: Database) -> None:
    """Bring what was written into the file, and empty the log beside it."""
    if not isinstance(database, SqliteDatabase):
        return
    with contextlib.closing(sqlite3.connect(database.name, isolation_level=None)) as connection:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise UnavailableError("the catalog's log is being read, so it cannot be emptied now", 5)


def _record(row: Any) -> Record:  # noqa: ANN401 - a row of any dialect
    return Record(
        mode=row["mode"],
        customer_id=row["customer_id"],
        asked_at=row["asked_at"],
        done_at=row["done_at"],
    )
