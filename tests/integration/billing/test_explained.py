from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamgauge.core.units import ByteUnit
from streamgauge.server.catalog.texts import Page
from streamgauge.server.rating.invoice import Invoice
from streamgauge.server.rating.price import MeterPrice
from streamgauge.server.rating.rate import rate

MODE = "test_mode"
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
CUSTOMERS = itertools.count(1)

INSTANTS = st.integers(-2, 28 * 24 * 60 + 2).map(
    lambda number: FEBRUARY + timedelta(minutes=number)
)
QUANTITIES = (
    st.integers(0, 10**38 - 1)
    | st.integers(0, 10**12)
    | st.sampled_from((Decimal("0.000000000001"), Decimal("12.5"), "7", True, 2**63))
)
USES = st.lists(st.tuples(INSTANTS, QUANTITIES), max_size=12)
PRICES = st.builds(
    MeterPrice,
    meter_id=st.just(""),
    price_per_unit=st.sampled_from(("5", "0.000000005", "99999.999999999999", "0.333333333333")),
    price_unit=st.none() | st.sampled_from((ByteUnit.GB, ByteUnit.GIB, ByteUnit.KB)),
    free_threshold=st.none() | st.sampled_from((0, 1, 10**10, 2**31, 2**63, 2**65)),
)


def explained(company: Any, invoice: Invoice, *, late: bool) -> tuple[Fraction, int, int]:
    """Walk all pages; return the sum, and how many events add and how many do not."""
    units, silent = list[Fraction](), 0
    for number in itertools.count():
        page = Page(number=number, size=3)
        found = company.billing.explain(MODE, invoice.id, 1, page, late=late).items
        if not found:
            return sum(units, Fraction(0)), len(units), silent
        units += [Fraction(event.units) for event in found if event.units is not None]
        silent += sum(event.units is None for event in found)
    raise AssertionError("unreachable")


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(uses=USES, later=USES, price=PRICES)
def test_a_line_is_exactly_what_its_events_add_up_to(
    company: Any, uses: Any, later: Any, price: MeterPrice
) -> None:
    company.clock.at = datetime(2026, 3, 15, tzinfo=UTC)
    # One meter for all examples: every rollup makes every insert slower.
    made = company.catalog.meters.list(MODE)
    meter = made[0] if made else company.meter()
    priced = MeterPrice(
        meter_id=meter.id,
        price_per_unit=price.price_per_unit,
        price_unit=price.price_unit,
        free_threshold=price.free_threshold,
    )
    customer_id = f"c{next(CUSTOMERS)}"
    company.customer(customer_id)
    company.subscribe(customer_id, company.product(priced), FEBRUARY)
    company.use(customer_id, uses)
    (invoice,) = company.finalise(customer_id)
    company.use(customer_id, later)
    (line,) = invoice.lines
    expected = [number for at, number in uses if FEBRUARY <= at < invoice.end]
    numbers = [Fraction(number) for number in expected if not isinstance(number, str | bool)]

    total, added, silent = explained(company, invoice, late=False)

    assert total == sum(numbers) == line.usage.quantity
    assert (added, silent) == (line.events, line.not_counted)
    assert silent == len(expected) - len(numbers)
    rated = rate(total, priced)
    assert (rated.amount, rated.exact) == (line.amount, Fraction(line.exact_amount))
    assert abs(line.amount - Fraction(line.exact_amount)) <= Fraction(1, 2)

    seen = company.billing.get(MODE, invoice.id)
    late_total, late_added, late_silent = explained(company, invoice, late=True)
    if not seen.unbilled_late:
        assert late_total == late_added == late_silent == 0
    for late in seen.unbilled_late:
        assert Fraction(late.units) == late_total
        assert (late.events, late.not_counted) == (late_added, late_silent)
        assert late.amount + line.amount == rate(total + late_total, priced).amount
