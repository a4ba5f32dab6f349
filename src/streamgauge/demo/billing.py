"""The billing side of the demo: meters, prices and a plan on a real server, and what it says."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from urllib.parse import urlencode

import msgspec

from streamgauge.core.clock import Clock, SystemClock, iso, utc
from streamgauge.core.errors import UnavailableError
from streamgauge.demo.api import Api
from streamgauge.demo.audience import EVENT_NAME, TARIFFS, Tariff
from streamgauge.demo.compare import Charge, ChargeLine, CountedEvent

CURRENCY: Final = "USD"
CENTS: Final = 100
_PAGE_EVENTS: Final = 100
_PAGES_MAX: Final = 1_000


class _Named(msgspec.Struct):
    id: str


class _Metadata(msgspec.Struct):
    bytes: int
    sg_http_bytes: int = 0
    sg_tls_bytes: int = 0
    sg_wire_bytes: int = 0


class _Event(msgspec.Struct):
    event_id: str
    customer_id: str
    metadata: _Metadata


class _Events(msgspec.Struct):
    items: list[_Event]


class _Line(msgspec.Struct):
    title: str
    consumed_units: str
    amount: int
    explanation: str


class _Invoice(msgspec.Struct):
    total: int
    lines: list[_Line]


class _Invoices(msgspec.Struct):
    items: list[_Invoice]
    note: str | None


class _CustomerUsage(msgspec.Struct):
    customer_id: str
    quantity: str


class _Usage(msgspec.Struct):
    items: list[_CustomerUsage]


class Billing:
    """Speaks to the billing server as any customer's code would: over HTTP, with a key.

    All that it asks is of the time since it was made, also when a month ends in it.
    """

    def __init__(self, api: Api, clock: Clock | None = None) -> None:
        self._api = api
        self._clock = clock or SystemClock()
        self._meter_ids: list[str] = []
        self._began = self._now()

    async def set_up(self) -> None:
        """Make one filtered meter per quality, and a plan that prices them for every customer."""
        prices = [
            {
                "meter_id": await self._make_meter(tariff),
                "free_threshold": tariff.free_bytes,
                "price_per_unit": str(tariff.usd_per_gb * CENTS),
                "price_unit": "GB",
            }
            for tariff in TARIFFS
        ]
        plan = {
            "name": "Streaming by the byte",
            "tax_category": "saas",
            "default_plan": True,
            "price": {
                "type": "usage_based_price",
                "currency": CURRENCY,
                "fixed_price": 0,
                "payment_frequency_count": 1,
                "payment_frequency_interval": "Month",
                "subscription_period_count": 20,
                "subscription_period_interval": "Year",
                "meters": prices,
            },
        }
        await self._api.post("/products", plan, dict)

    async def _make_meter(self, tariff: Tariff) -> str:
        condition = {"key": "quality", "operator": "equals", "value": tariff.quality}
        meter = {
            "name": tariff.quality,
            "event_name": EVENT_NAME,
            "measurement_unit": "byte",
            "aggregation": {"type": "sum", "key": "bytes"},
            "filter": {"conjunction": "and", "clauses": [condition]},
        }
        made = await self._api.post("/meters", meter, _Named)
        self._meter_ids.append(made.id)
        return made.id

    async def usage(self) -> dict[str, int]:
        """Return the bytes that all meters together have for each customer."""
        totals: dict[str, int] = {}
        for meter_id in self._meter_ids:
            window = {"start": iso(_minute(self._began)), "end": iso(_minute(self._now(), 1))}
            query = urlencode({"meter_id": meter_id, "group_by": "customer_id", **window})
            for item in (await self._api.get(f"/v1/usage?{query}", _Usage)).items:
                totals[item.customer_id] = totals.get(item.customer_id, 0) + int(item.quantity)
        return totals

    async def events(self) -> list[CountedEvent]:
        """Return every usage event."""
        found: list[CountedEvent] = []
        for number in range(_PAGES_MAX):
            query = urlencode({"page_size": _PAGE_EVENTS, "page_number": number})
            page = await self._api.get(f"/events?{query}", _Events)
            if not page.items:
                break
            found += [
                CountedEvent(
                    event_id=event.event_id,
                    customer_id=event.customer_id,
                    bytes=event.metadata.bytes,
                    http=event.metadata.sg_http_bytes,
                    tls=event.metadata.sg_tls_bytes,
                    wire=event.metadata.sg_wire_bytes,
                )
                for event in page.items
            ]
        return found

    async def charge(self, customer_id: str) -> Charge:
        """Return what a customer owes; its lines are those of one invoice, or of one a month."""
        now = self._now()
        months = {(at.year, at.month): at for at in (self._began, now)}.values()
        invoices = [await self._invoice(customer_id, at) for at in months]
        total = sum(invoice.total for invoice in invoices)
        return Charge(
            currency=CURRENCY,
            total=total,
            total_text=f"{total / Decimal(CENTS):.2f} {CURRENCY}",
            lines=tuple(
                ChargeLine(
                    title=line.title,
                    consumed_bytes=int(line.consumed_units),
                    amount=line.amount,
                    explanation=line.explanation,
                )
                for invoice in invoices
                for line in invoice.lines
            ),
        )

    async def _invoice(self, customer_id: str, at: datetime) -> _Invoice:
        query = urlencode({"customer_id": customer_id, "at": iso(at)})
        found = await self._api.get(f"/v1/invoices/preview?{query}", _Invoices)
        if len(found.items) != 1:
            words = found.note or f"there are {len(found.items)} instead of one"
            raise UnavailableError(f"no invoice for {customer_id}: {words}")
        return found.items[0]

    def _now(self) -> datetime:
        return utc(self._clock.time_ns())


def _minute(at: datetime, more: int = 0) -> datetime:
    return at.replace(second=0, microsecond=0) + timedelta(minutes=more)
