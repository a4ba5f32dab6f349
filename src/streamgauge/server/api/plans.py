"""``/v1/plans``: a meter, its price and a plan for every customer, in one call."""

from __future__ import annotations

import logging

import msgspec

from streamgauge.core.errors import StreamgaugeError
from streamgauge.core.units import ByteUnit
from streamgauge.server.api.operation import Call, Operation
from streamgauge.server.billing.plans import DodoFigures, dodo_figures, overlaps
from streamgauge.server.catalog.meters import NewMeter
from streamgauge.server.catalog.plans import NewPlanMeter
from streamgauge.server.metering.meter import MeterAnswer, answer
from streamgauge.server.rating.price import MeterPrice

_log = logging.getLogger("streamgauge.server.api")


class PlanBody(msgspec.Struct, frozen=True, kw_only=True):
    """What is made.

    Attributes:
        meter: As ``POST /meters`` takes it.
        currency: ISO 4217.
        price_per_unit: Decimal text in minor units, per raw unit or per ``price_unit``.
        price_unit: Such as ``GB``.
        free_threshold: Raw units per calendar month that cost nothing.
        plan: Name of the default plan; several meters may join one.
    """

    meter: NewMeter
    currency: str
    price_per_unit: str
    price_unit: ByteUnit | None = None
    free_threshold: int | None = None
    plan: str = "Usage"


class PlanAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was made.

    Attributes:
        meter: The meter.
        product_id: The plan's product.
        product_name: The plan's name.
        currency: The plan's.
        price: The meter's price in the plan.
        dodo: What to type into Dodo's dashboard for the same bill.
        warnings: What may surprise on an invoice.
    """

    meter: MeterAnswer
    product_id: str
    product_name: str
    currency: str
    price: MeterPrice
    dodo: DodoFigures
    warnings: tuple[str, ...]


async def create(call: Call) -> PlanAnswer:
    """Make a meter and bill it to every customer, all of it or nothing."""
    body: PlanBody = call.body
    price = MeterPrice(
        meter_id="",
        price_per_unit=body.price_per_unit,
        price_unit=body.price_unit,
        free_threshold=body.free_threshold,
    )
    new = NewPlanMeter(meter=body.meter, plan=body.plan, currency=body.currency, price=price)
    plans, mode = call.parts.catalog.plans, call.caller.mode
    meter, product = await call.run(plans.add, mode, new)
    try:
        await call.parts.add_meter(meter)
    except StreamgaugeError:
        # Usage is exact without the rollup too, and the next start makes it.
        _log.warning("the rollup of %s waits for the next start", meter.id, exc_info=True)
    kept = next(each for each in product.price.meters or () if each.meter_id == meter.id)
    billed = await call.run(plans.metered, mode, product)
    return PlanAnswer(
        meter=answer(meter),
        product_id=product.product_id,
        product_name=product.name,
        currency=product.price.currency,
        price=kept,
        dodo=dodo_figures(meter, kept, product.price.currency),
        warnings=tuple(
            f"meter {other.name} ({other.id}) of this plan may bill the same events too"
            for other in overlaps(meter, billed)
        ),
    )


OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/plans",
        summary="Make a meter, its price and a plan for every customer",
        tag="plans",
        handler=create,
        body=PlanBody,
        response=PlanAnswer,
        status=201,
        needs="write",
    ),
)
