"""Usage times price: exact fractions until the one rounding at the line."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import msgspec

from streamgauge.core.errors import UnsupportedError
from streamgauge.server.rating.money import round_minor
from streamgauge.server.rating.price import MeterPrice, UsageBasedPrice, price_per_raw_unit


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a meter says of one customer.

    Attributes:
        quantity: Raw units, exactly.
        events: How many events made it.
        not_counted: How many more were taken but hold no number to add.
    """

    quantity: Fraction = Fraction(0)
    events: int = 0
    not_counted: int = 0

    def plus(self, other: Usage) -> Usage:
        """Return both together."""
        return Usage(
            quantity=self.quantity + other.quantity,
            events=self.events + other.events,
            not_counted=self.not_counted + other.not_counted,
        )

    def minus(self, earlier: Usage) -> Usage:
        """Return what came since ``earlier``."""
        return Usage(
            quantity=self.quantity - earlier.quantity,
            events=self.events - earlier.events,
            not_counted=self.not_counted - earlier.not_counted,
        )


class Rated(msgspec.Struct, frozen=True, kw_only=True):
    """What usage costs.

    Attributes:
        consumed: Raw units, as metered.
        free: Raw units of it that cost nothing.
        chargeable: Raw units of it that are charged; ``consumed == free + chargeable``.
        exact: Minor units before rounding.
        amount: Minor units, rounded once, half to even.
    """

    consumed: Fraction
    free: Fraction
    chargeable: Fraction
    exact: Fraction
    amount: int


def rate(consumed: Decimal | Fraction | int, price: MeterPrice) -> Rated:
    """Return what ``consumed`` raw units cost.

    Usage below zero, which corrections could make, is free and never a credit.

    Raises:
        UnsupportedError: The meter is paid with credits.
    """
    check_ratable_meter(price)
    # Decimal arithmetic rounds to its context's digits; fractions never do.
    usage = Fraction(consumed)
    chargeable = max(usage - (price.free_threshold or 0), Fraction(0))
    exact = chargeable * price_per_raw_unit(price)
    return Rated(
        consumed=usage,
        free=usage - chargeable,
        chargeable=chargeable,
        exact=exact,
        amount=round_minor(exact),
    )


def check_ratable(price: UsageBasedPrice) -> None:
    """Refuse a price of which some part cannot be evaluated yet.

    Raises:
        UnsupportedError: It has a discount, or a meter that is paid with credits.
    """
    if price.discount_bps or (price.discount_bps is None and price.discount):
        raise UnsupportedError("discount of a usage-based price cannot be evaluated yet")
    for meter in price.meters or ():
        check_ratable_meter(meter)


def check_ratable_meter(price: MeterPrice) -> None:
    """Refuse a meter's price that cannot be evaluated yet.

    Raises:
        UnsupportedError: It is paid with credits.
    """
    if price.credit_entitlement_id is not None:
        raise UnsupportedError(
            f"credit_entitlement_id on meter {price.meter_id} cannot be evaluated yet"
        )
