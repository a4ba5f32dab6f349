"""The catalog: opened once per process, closed once; safe to use from several threads."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import insert, select

from streamgauge.core.clock import Clock, SystemClock, utc
from streamgauge.core.ids import Entropy, new_id
from streamgauge.server.catalog.customers import Customers
from streamgauge.server.catalog.database import Database
from streamgauge.server.catalog.invoices import Invoices
from streamgauge.server.catalog.keys import Keys
from streamgauge.server.catalog.meters import Meters
from streamgauge.server.catalog.migrations import migrate
from streamgauge.server.catalog.plans import Plans
from streamgauge.server.catalog.products import Products
from streamgauge.server.catalog.schema import api_keys, businesses
from streamgauge.server.catalog.secret import derived, open_secret
from streamgauge.server.catalog.subscriptions import Subscriptions

FILE_NAME = "catalog.sqlite"


class Catalog:
    """Keys, customers, meters, products, subscriptions and invoices of one business.

    Args:
        path: The SQLite file in the data directory; made if it is not there.
        clock: Where time comes from.
        entropy: Where ids and tokens come from.

    Raises:
        ConfigurationError: A newer release wrote the file, it is damaged, or the secret of its
            keys is gone.
    """

    def __init__(
        self, path: Path, *, clock: Clock | None = None, entropy: Entropy = os.urandom
    ) -> None:
        clock = clock or SystemClock()
        self.database = Database(path)
        try:
            self.database.check()
            migrate(self.database, clock.time_ns() // 1_000)
            self.business_id = _business(self.database, clock, entropy)
            may_create = not _has_keys(self.database)
            self._secret = open_secret(path.parent, may_create=may_create, entropy=entropy)
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
        self.invoices = Invoices(self.database, self.business_id)

    def secret(self, purpose: str) -> bytes:
        """Return 32 secret bytes for one purpose, the same in every process of this directory."""
        return derived(self._secret, purpose)

    def close(self) -> None:
        """Let go of the file."""
        self.database.close()


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
