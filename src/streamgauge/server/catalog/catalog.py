"""The catalog: opened once per process, closed once; safe to use from several threads."""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from sqlalchemy import insert, select, update

from streamgauge.core.clock import Clock, SystemClock, utc
from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.core.ids import Entropy, new_id
from streamgauge.server.catalog.customers import Customers
from streamgauge.server.catalog.database import Database
from streamgauge.server.catalog.forgotten import Forgotten
from streamgauge.server.catalog.invoices import Invoices
from streamgauge.server.catalog.keys import Keys
from streamgauge.server.catalog.meters import Meters
from streamgauge.server.catalog.migrations import migrate
from streamgauge.server.catalog.plans import Plans
from streamgauge.server.catalog.postgresql import PostgresqlDatabase
from streamgauge.server.catalog.products import Products
from streamgauge.server.catalog.schema import api_keys, businesses
from streamgauge.server.catalog.secret import derived, open_secret
from streamgauge.server.catalog.sqlite import SqliteDatabase
from streamgauge.server.catalog.subscriptions import Subscriptions
from streamgauge.server.layout import ELSEWHERE, SECRET


class Catalog:
    """Keys, customers, meters, products, subscriptions and invoices of one business.

    Args:
        path: The SQLite file in the data directory; made if it is not there.
        url: The PostgreSQL database that is used instead; the directory keeps the secret alone.
        clock: Where time comes from.
        entropy: Where ids and tokens come from.

    Raises:
        ConfigurationError: A newer release wrote the catalog, it is damaged, the secret of its
            keys is gone or another one, or the directory belongs to another catalog.
        MissingExtraError: PostgreSQL needs the ``cluster`` extra.
        UnavailableError: PostgreSQL cannot be reached.
    """

    def __init__(
        self,
        path: Path,
        *,
        url: str | None = None,
        clock: Clock | None = None,
        entropy: Entropy = os.urandom,
    ) -> None:
        clock = clock or SystemClock()
        self.database = _database(path, url)
        try:
            self.database.check()
            migrate(self.database, clock.time_ns() // 1_000)
            self.business_id = _business(self.database, clock, entropy)
            may_create = not _has_keys(self.database)
            self._secret = open_secret(path.parent, may_create=may_create, entropy=entropy)
            self._check_secret(path.with_name(SECRET))
            if url is not None:
                path.with_name(ELSEWHERE).write_text(f"{self.database.name}\n")
        except BaseException:
            self.database.close()
            raise
        self.keys = Keys(
            self.database, self.business_id, self.secret("keys"), clock=clock, entropy=entropy
        )
        self.customers = Customers(self.database, self.business_id, clock=clock, entropy=entropy)
        self.meters = Meters(self.database, self.business_id, clock=clock, entropy=entropy)
        self.products = Products(
            self.database, self.business_id, self.meters, clock=clock, entropy=entropy
        )
        self.subscriptions = Subscriptions(
            self.database,
            self.business_id,
            self.customers,
            self.products,
            clock=clock,
            entropy=entropy,
        )
        self.plans = Plans(self.database, self.meters, self.products)
        self.forgotten = Forgotten(self.database, self.business_id, clock=clock)
        self.invoices = Invoices(self.database, self.business_id)

    def secret(self, purpose: str) -> bytes:
        """Return 32 secret bytes for one purpose, the same in every process of this catalog."""
        return derived(self._secret, purpose)

    @property
    def blocks(self) -> bool:
        """Return whether its answers cross a network, so that an event loop must not wait."""
        return self.database.blocks

    def trouble(self) -> str | None:
        """Return why the catalog does not answer now, or None; asks it where it is a server."""
        if self.blocks:
            try:
                with self.database.read() as connection:
                    connection.execute(select(1))
            except UnavailableError as error:
                return str(error)
        return None

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def _check_secret(self, path: Path) -> None:
        """Refuse a secret by which the catalog's keys would all be unknown."""
        check = self.secret("check").hex()
        mine = businesses.c.business_id == self.business_id
        with self.database.write() as connection:
            kept = connection.execute(select(businesses.c.secret_check).where(mine)).scalar_one()
            if kept is None:
                connection.execute(update(businesses).where(mine).values(secret_check=check))
            elif not hmac.compare_digest(str(kept), check):
                raise ConfigurationError(
                    f"{path} is not the secret that the keys of {self.database.name} depend on; "
                    "restore it from a backup, or copy it from a process that has it"
                )


def _database(path: Path, url: str | None) -> Database:
    """Open the catalog that belongs to the directory.

    Raises:
        ConfigurationError: It is not the one that is asked for.
    """
    elsewhere = path.with_name(ELSEWHERE)
    if url is None:
        if elsewhere.exists():
            raise ConfigurationError(
                f"the catalog of {path.parent} is {elsewhere.read_text().strip()}; "
                "give it as --catalog or STREAMGAUGE_CATALOG"
            )
        return SqliteDatabase(path)
    if path.exists():
        raise ConfigurationError(
            f"{path.parent} has a catalog of its own, {path.name}; another catalog needs a "
            "directory of its own too"
        )
    return PostgresqlDatabase(url)


def _business(database: Database, clock: Clock, entropy: Entropy) -> str:
    """Return the id of this directory's business; mint it at the first start."""
    with database.write() as connection:
        found = connection.execute(select(businesses.c.business_id)).scalar_one_or_none()
        if found is not None:
            return str(found)
        id = new_id("bus", time_ns=clock.time_ns, entropy=entropy)
        row = {"business_id": id, "created_at": utc(clock.time_ns())}
        connection.execute(insert(businesses).values(**row))
        return id


def _has_keys(database: Database) -> bool:
    with database.read() as connection:
        return connection.execute(select(api_keys.c.id).limit(1)).first() is not None
