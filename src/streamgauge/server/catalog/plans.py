"""A meter and its price in a default plan, made together or not at all."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from streamgauge.core.errors import ConflictError
from streamgauge.core.limits import SUBSCRIPTION_YEARS_MAX
from streamgauge.server.catalog.database import Database
from streamgauge.server.catalog.meters import Meters, NewMeter
from streamgauge.server.catalog.products import NewProduct, Product, Products, TaxCategory
from streamgauge.server.metering.meter import Meter, describe_meter
from streamgauge.server.rating.price import Interval, MeterPrice, UsageBasedPrice


class NewPlanMeter(msgspec.Struct, frozen=True, kw_only=True):
    """What is made: a meter, and its price in the default plan named ``plan``.

    Attributes:
        meter: The meter, as ``POST /meters`` takes it.
        plan: The plan's name; made if there is none of that name.
        currency: ISO 4217; the plan's.
        price: Its ``meter_id`` is not looked at.
    """

    meter: NewMeter
    plan: str
    currency: str
    price: MeterPrice


class Plans:
    """The default plans of a business, with what they bill."""

    def __init__(self, database: Database, meters: Meters, products: Products) -> None:
        self._database = database
        self._meters = meters
        self._products = products

    def add(self, mode: str, new: NewPlanMeter) -> tuple[Meter, Product]:
        """Make a meter and bill it to every customer; return it and the plan.

        Raises:
            InvalidInputError: A value breaks a rule.
            ConflictError: The plan has another currency, or bills exactly this usage already.
        """
        with self._database.write() as connection:
            plan = self._find(mode, new.plan)
            meter = self._meters.create_within(connection, mode, new.meter)
            price = msgspec.structs.replace(new.price, meter_id=meter.id)
            if plan is None:
                return meter, self._make(connection, mode, new, price)
            self._check_joins(mode, plan, new, meter)
            whole = msgspec.structs.replace(plan.price, meters=(*(plan.price.meters or ()), price))
            changed = self._products.update_within(
                connection, mode, plan.product_id, {"price": whole}
            )
            return meter, changed

    def metered(self, mode: str, plan: Product) -> list[Meter]:
        """Return the meters that a plan bills."""
        return [self._meters.get(mode, price.meter_id) for price in plan.price.meters or ()]

    def _find(self, mode: str, name: str) -> Product | None:
        plans = self._products.default_plans(mode)
        return next((plan for plan in plans if plan.name == name), None)

    def _make(
        self, connection: Connection, mode: str, new: NewPlanMeter, price: MeterPrice
    ) -> Product:
        whole = UsageBasedPrice(
            currency=new.currency,
            fixed_price=0,
            payment_frequency_count=1,
            payment_frequency_interval=Interval.MONTH,
            subscription_period_count=SUBSCRIPTION_YEARS_MAX,
            subscription_period_interval=Interval.YEAR,
            meters=(price,),
        )
        product = NewProduct(
            name=new.plan, tax_category=TaxCategory.SAAS, price=whole, default_plan=True
        )
        return self._products.create_within(connection, mode, product)

    def _check_joins(self, mode: str, plan: Product, new: NewPlanMeter, meter: Meter) -> None:
        if plan.price.currency != new.currency:
            raise ConflictError(
                f"plan {plan.name!r} bills in {plan.price.currency}, not in {new.currency}"
            )
        for other in self.metered(mode, plan):
            if _same(other, meter):
                raise ConflictError(
                    f"meter {other.id} of plan {plan.name!r} bills the {describe_meter(other)} "
                    "already; a second one would bill it twice"
                )


def _same(one: Meter, other: Meter) -> bool:
    return (one.event_name, one.aggregation, one.filter) == (
        other.event_name,
        other.aggregation,
        other.filter,
    )
