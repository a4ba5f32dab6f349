"""What pages may ask of the running server; ``server/app.py`` builds what fulfils it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from streamgauge.core.clock import Clock
from streamgauge.server.billing import Billing
from streamgauge.server.catalog import Catalog
from streamgauge.server.ingest.pipeline import Pipeline
from streamgauge.server.metering.meter import Meter
from streamgauge.server.store import EventStore

T = TypeVar("T")


class Parts(Protocol):
    """The running server, as pages see it."""

    @property
    def catalog(self) -> Catalog:
        """Return keys, customers, meters and products."""
        ...

    @property
    def store(self) -> EventStore:
        """Return events and usage; its calls block, so give them to ``run``."""
        ...

    @property
    def pipeline(self) -> Pipeline:
        """Return the way of events to the store: ``caught_up`` waits for what was accepted."""
        ...

    @property
    def billing(self) -> Billing:
        """Return invoices; its calls block, so give them to ``run``."""
        ...

    @property
    def clock(self) -> Clock:
        """Return where time comes from."""
        ...

    async def run(self, function: Callable[..., T], /, *args: object) -> T:
        """Return ``function(*args)``, called in the bounded thread pool."""
        ...

    async def add_meter(self, meter: Meter) -> None:
        """Return when the events of ``meter`` are being rolled up; twice is once."""
        ...
