"""Invoices that explain themselves: every figure exact, the one rounding named."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

import msgspec

from streamgauge.core.units import ByteUnit, format_bytes
from streamgauge.server.metering.meter import AggregationType, Meter, describe_meter
from streamgauge.server.metering.windows import Window
from streamgauge.server.rating.money import ROUNDING_RULE, exact_money, exact_text, format_money
from streamgauge.server.rating.price import MeterPrice
from streamgauge.server.rating.rate import Rated, Usage, rate


class InvoiceStatus(StrEnum):
    """Whether an invoice can still change."""

    PREVIEW = "preview"
    FINAL = "final"


class InvoiceLine(msgspec.Struct, frozen=True, kw_only=True):
    """One meter's charge, or the fixed price of a period.

    Attributes:
        number: From 1, as in ``/v1/invoices/{id}/lines/{n}/events``.
        title: The meter's name, or what is charged.
        meter_id: None for a fixed price.
        measures: What the meter takes and adds, for people.
        windows: When; more than one where a subscription of the customer's own interrupts a
            default plan.
        event_name: The events that are taken.
        measurement_unit: The meter's label.
        events: How many events made the quantity.
        not_counted: How many more were taken but hold no number to add.
        consumed_units: Raw units, exact decimal text.
        free_units: Raw units of them that cost nothing.
        chargeable_units: Raw units of them that are charged.
        free_threshold: Raw units that cost nothing per period.
        price_per_unit: Minor units per raw unit or per ``price_unit``, decimal text.
        price_unit: What the price is for; a raw unit when None.
        exact_amount: Minor units before rounding: a decimal, or ``a/b`` where none is exact.
        amount: Minor units, rounded once.
        explanation: The arithmetic in one sentence.
    """

    number: int = 0
    title: str
    meter_id: str | None = None
    measures: str | None = None
    windows: tuple[Window, ...] = ()
    event_name: str | None = None
    measurement_unit: str | None = None
    events: int = 0
    not_counted: int = 0
    consumed_units: str = "0"
    free_units: str = "0"
    chargeable_units: str = "0"
    free_threshold: int | None = None
    price_per_unit: str | None = None
    price_unit: ByteUnit | None = None
    exact_amount: str
    amount: int
    explanation: str

    @property
    def usage(self) -> Usage:
        """Return the usage that made the line."""
        return Usage(
            quantity=Fraction(self.consumed_units),
            events=self.events,
            not_counted=self.not_counted,
        )

    @property
    def price(self) -> MeterPrice:
        """Return the price that made the line."""
        assert self.meter_id is not None, "a fixed price has no meter"
        return MeterPrice(
            meter_id=self.meter_id,
            price_per_unit=self.price_per_unit,
            price_unit=self.price_unit,
            free_threshold=self.free_threshold,
        )


class LateUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Usage of an invoice's window that arrived after its cut, on no invoice.

    Attributes:
        line: The line it would have been on.
        meter_id: Which meter.
        events: How many events.
        not_counted: How many more hold no number to add.
        units: Raw units, exact decimal text.
        exact_amount: What the line would have cost more, minor units before rounding.
        amount: What the line would have cost more, minor units.
    """

    line: int
    meter_id: str
    events: int
    not_counted: int
    units: str
    exact_amount: str
    amount: int


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """What one customer owes for one product and period.

    Attributes:
        id: Begins with ``inv_``; None for a preview.
        status: A final one never changes.
        business_id: Who bills.
        mode: ``test_mode`` or ``live_mode``.
        customer_id: Who pays.
        customer_known: False while only events have named the customer.
        subscription_id: None under a default plan.
        product_id: What is billed.
        product_name: For people.
        currency: ISO 4217.
        start: The period's first instant.
        end: The first instant after the period.
        cut: Log position; events after it are not in here. A decimal text.
        lines: What is charged.
        total: Minor units: the sum of the lines' amounts.
        total_text: The total for people.
        rounding: The rule of rounding.
        notes: What else a reader must know.
        created_at: When it was made.
        unbilled_late: Usage of the window that arrived after the cut.
    """

    id: str | None
    status: InvoiceStatus
    business_id: str
    mode: str
    customer_id: str
    customer_known: bool
    subscription_id: str | None
    product_id: str
    product_name: str
    currency: str
    start: datetime
    end: datetime
    cut: str
    lines: tuple[InvoiceLine, ...]
    total: int
    total_text: str
    rounding: str = ROUNDING_RULE
    notes: tuple[str, ...] = ()
    created_at: datetime
    unbilled_late: tuple[LateUsage, ...] = ()


def usage_line(
    meter: Meter, price: MeterPrice, usage: Usage, *, currency: str, windows: tuple[Window, ...]
) -> InvoiceLine:
    """Return the line of one meter, not yet numbered.

    Raises:
        UnsupportedError: The meter is paid with credits.
    """
    rated = rate(usage.quantity, price)
    return InvoiceLine(
        title=meter.name,
        meter_id=meter.id,
        measures=describe_meter(meter),
        windows=windows,
        event_name=meter.event_name,
        measurement_unit=meter.measurement_unit,
        events=usage.events,
        not_counted=usage.not_counted,
        consumed_units=exact_text(rated.consumed),
        free_units=exact_text(rated.free),
        chargeable_units=exact_text(rated.chargeable),
        free_threshold=price.free_threshold,
        price_per_unit=price.price_per_unit,
        price_unit=price.price_unit,
        exact_amount=exact_text(rated.exact),
        amount=rated.amount,
        explanation=explain_line(meter, price, rated, currency),
    )


def fixed_line(amount: int, currency: str) -> InvoiceLine:
    """Return the line of a fixed price per period, not yet numbered."""
    return InvoiceLine(
        title="Fixed price per period",
        exact_amount=str(amount),
        amount=amount,
        explanation=f"{format_money(amount, currency)} per period, whatever the usage.",
    )


def late_usage(line: InvoiceLine, now: Usage) -> LateUsage:
    """Return what ``line`` lacks of the usage of its windows as it is ``now``."""
    assert line.meter_id is not None, "a fixed price has no usage"
    late = now.minus(line.usage)
    then, rated = rate(line.usage.quantity, line.price), rate(now.quantity, line.price)
    return LateUsage(
        line=line.number,
        meter_id=line.meter_id,
        events=late.events,
        not_counted=late.not_counted,
        units=exact_text(late.quantity),
        exact_amount=exact_text(rated.exact - then.exact),
        amount=rated.amount - then.amount,
    )


def explain_line(meter: Meter, price: MeterPrice, rated: Rated, currency: str) -> str:
    """Return the arithmetic of a line in one sentence."""
    unit = meter.measurement_unit
    per = unit if price.price_unit is None else unit_text(price.price_unit)
    each = exact_money(Fraction(Decimal(price.price_per_unit or 0)), currency)
    return (
        f"{_quantity(meter, rated.consumed)} less {_quantity(meter, rated.free)} free is "
        f"{_quantity(meter, rated.chargeable)}; at {each} per {per} that is "
        f"{exact_money(rated.exact, currency)}, rounded half to even: "
        f"{format_money(rated.amount, currency)}."
    )


def unit_text(unit: ByteUnit) -> str:
    """Return a unit with what it is, such as ``GB (1,000,000,000 bytes)``."""
    return unit.value if unit is ByteUnit.BYTE else f"{unit} ({unit.bytes:,} bytes)"


def _quantity(meter: Meter, quantity: Fraction) -> str:
    text = exact_text(quantity)
    counted = meter.aggregation.type is AggregationType.COUNT
    if counted or meter.measurement_unit not in {"byte", "bytes"}:
        return f"{text} {'events' if counted else meter.measurement_unit}"
    about = f" ({format_bytes(int(quantity))})" if abs(quantity) >= ByteUnit.KB.bytes else ""
    return f"{text} bytes{about}"
