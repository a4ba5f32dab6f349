"""A company on the real engine and the real catalog, with a clock of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from streamgauge.core.clock import to_ns
from streamgauge.core.metadata import canonical, canonical_mapping
from streamgauge.core.units import ByteUnit
from streamgauge.server.billing import Billing, Whose
from streamgauge.server.billing.periods import cycle
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.customers import NewCustomer
from streamgauge.server.catalog.meters import NewMeter
from streamgauge.server.catalog.products import NewProduct, Product, TaxCategory
from streamgauge.server.catalog.subscriptions import (
    BillingAddress,
    NewSubscription,
    Subscription,
)
from streamgauge.server.ingest.rows import Head, encode, numbered
from streamgauge.server.ingest.rules import WireEvent
from streamgauge.server.layout import CATALOG
from streamgauge.server.metering.filters import (
    Condition,
    Conjunction,
    Filter,
    Operator,
    write_filter,
)
from streamgauge.server.metering.meter import Aggregation, AggregationType, Meter
from streamgauge.server.rating.invoice import Invoice
from streamgauge.server.rating.price import Interval, MeterPrice, UsageBasedPrice
from streamgauge.server.store import EventStore
from streamgauge.server.store.segments import ROW_BITS, log_position

MODE = "test_mode"
EVENT_NAME = "stream_consumption"
SUM = Aggregation(type=AggregationType.SUM, key="bytes")
_SEGMENTS = itertools.count(1)
_EVENTS = itertools.count(1)


class SetClock:
    def __init__(self, at: datetime) -> None:
        self.at = at

    def time_ns(self) -> int:
        return to_ns(self.at)

    def monotonic_ns(self) -> int:
        return to_ns(self.at)


class Company:
    """A business of its own in a shared store."""

    def __init__(self, path: Path, store: EventStore) -> None:
        self.clock = SetClock(datetime(2026, 3, 15, 12, 0, tzinfo=UTC))
        self.catalog = Catalog(path / CATALOG, clock=self.clock)
        self.store = store
        self.billing = Billing(self.catalog, store, clock=self.clock)
        self.cut = 0

    def meter(
        self,
        name: str = "egress",
        *,
        rolled_up: bool = True,
        aggregation: Aggregation = SUM,
        **equals: str | int,
    ) -> Meter:
        clauses = tuple(
            Condition(key=key, operator=Operator.EQUALS, value=canonical(value))
            for key, value in equals.items()
        )
        filter = Filter(conjunction=Conjunction.AND, clauses=clauses)
        meter = self.catalog.meters.create(
            MODE,
            NewMeter(
                name=name,
                event_name=EVENT_NAME,
                measurement_unit="byte",
                aggregation=aggregation,
                filter=write_filter(filter) if clauses else None,
            ),
        )
        if rolled_up:
            self.store.plan_rollups([meter], self.cut)
            self.store.fill_rollups()
        return meter

    def price(self, meter: Meter, cents: str = "5", free: int | None = None) -> MeterPrice:
        return MeterPrice(
            meter_id=meter.id, price_per_unit=cents, price_unit=ByteUnit.GB, free_threshold=free
        )

    def product(
        self,
        *prices: MeterPrice,
        default: bool = False,
        interval: Interval = Interval.MONTH,
        currency: str = "USD",
        fixed_price: int = 0,
    ) -> Product:
        price = UsageBasedPrice(
            currency=currency,
            fixed_price=fixed_price,
            payment_frequency_count=1,
            payment_frequency_interval=interval,
            subscription_period_count=20,
            subscription_period_interval=Interval.YEAR,
            meters=prices,
        )
        new = NewProduct(
            name="Usage", tax_category=TaxCategory.SAAS, price=price, default_plan=default
        )
        return self.catalog.products.create(MODE, new)

    def customer(self, customer_id: str) -> None:
        new = NewCustomer(customer_id=customer_id, email="a@example.com", name="Ann")
        self.catalog.customers.create(MODE, new)

    def subscribe(self, customer_id: str, product: Product, start: datetime) -> Subscription:
        new = NewSubscription(
            product_id=product.product_id,
            quantity=1,
            billing=BillingAddress(country="DE"),
            started_at=start,
            customer_id=customer_id,
        )
        return self.catalog.subscriptions.create(
            MODE, new, life_end=lambda start, _price: cycle(start, Interval.YEAR, 20).bound(1)
        )

    def preview(self, customer_id: str, at: datetime | None = None) -> list[Invoice]:
        return self.billing.preview(MODE, Whose(customer_id=customer_id, at=at), cut=self.cut)

    def finalise(self, customer_id: str, at: datetime | None = None) -> list[Invoice]:
        return self.billing.finalise(MODE, Whose(customer_id=customer_id, at=at), cut=self.cut)

    def use(
        self, customer_id: str, uses: Sequence[tuple[datetime, object]], **more: object
    ) -> None:
        """Store one event per (timestamp, bytes), in one segment of the log."""
        events = [
            WireEvent(
                event_id=f"e{next(_EVENTS)}",
                customer_id=customer_id,
                event_name=EVENT_NAME,
                timestamp=at,
                metadata={
                    key: msgspec.Raw(msgspec.json.encode(text))
                    for key, text in canonical_mapping({"bytes": quantity, **more}).items()
                },
            )
            for at, quantity in uses
        ]
        record = encode(Head(self.catalog.business_id, MODE, self.clock.at), events)
        segment = next(_SEGMENTS)
        lines = numbered([record], log_position(segment, 0))
        self.store.insert(segment, b"\n".join(lines), len(lines))
        self.cut = log_position(segment, (1 << ROW_BITS) - 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventStore]:
    store = EventStore(f"chdb://{tmp_path_factory.mktemp('engine')}")
    yield store
    store.close()


@pytest.fixture
def company(tmp_path: Path, store: EventStore) -> Iterator[Company]:
    company = Company(tmp_path, store)
    yield company
    company.catalog.close()
