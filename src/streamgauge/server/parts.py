"""What handlers and pages may ask of the running server; ``server/app.py`` builds what fulfils it.

They depend on this and not on the composition root, so imports keep pointing down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from streamgauge.core.clock import Clock
from streamgauge.server.backup.holding import Holder
from streamgauge.server.billing import Billing
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.keys import ApiKey
from streamgauge.server.ingest.event_path import EventPath
from streamgauge.server.ingest.forgetter import Forgetter
from streamgauge.server.ingest.retention import Retention
from streamgauge.server.metering.meter import Meter
from streamgauge.server.rates import Rates
from streamgauge.server.store import EventStore

T = TypeVar("T")


class Parts(Protocol):
    """The running server, as those who answer requests see it."""

    @property
    def catalog(self) -> Catalog:
        """Return keys, customers, meters, products, subscriptions and invoices."""
        ...

    @property
    def store(self) -> EventStore:
        """Return events and usage; its calls block, so give them to ``run``."""
        ...

    @property
    def pipeline(self) -> EventPath:
        """Return the way of events to the store: accept, ``caught_up``, ``position``."""
        ...

    @property
    def billing(self) -> Billing:
        """Return what bills customers; its calls block, so give them to ``run``."""
        ...

    @property
    def holder(self) -> Holder:
        """Return what holds states for backups."""
        ...

    @property
    def forgetter(self) -> Forgetter:
        """Return what forgets customers."""
        ...

    @property
    def retention(self) -> Retention:
        """Return what archives events."""
        ...

    @property
    def rates(self) -> Rates:
        """Return what counts the requests of keys."""
        ...

    @property
    def clock(self) -> Clock:
        """Return where time comes from."""
        ...

    async def run(self, function: Callable[..., T], /, *args: object) -> T:
        """Return ``function(*args)``, called in the bounded thread pool."""
        ...

    async def key(self, token: str) -> ApiKey | None:
        """Return the working key of ``token``, or None; never waits for what ``run`` does."""
        ...

    async def catalog_trouble(self) -> str | None:
        """Return why the catalog does not answer now, or None; waits as ``key`` does."""
        ...

    async def add_meter(self, meter: Meter) -> None:
        """Return when the events of ``meter`` are being rolled up; twice is once."""
        ...
