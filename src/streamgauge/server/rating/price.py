"""Usage-based prices in Dodo's shape, with our optional ``price_unit`` beside it."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

import msgspec

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.limits import (
    INT32_MAX,
    METERS_PER_PRODUCT_MAX,
    NUMBER_DIGITS_MAX,
    PERIOD_COUNT_MAX,
    SUBSCRIPTION_YEARS_MAX,
)
from streamgauge.core.units import ByteUnit
from streamgauge.server.rating.money import check_currency

_PRICE: Final = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,12})?")
_PRICE_RULE: Final = (
    "be a decimal text above 0 in the currency's minor unit, "
    "with at most 5 digits before and 12 after the point"
)


class RepeatedMeterError(InvalidInputError):
    """A price names a meter twice."""

    code = "DUPLICATE_METER_IDS_IN_REQUEST"


class Interval(StrEnum):
    """What a period is counted in; the value is the word on the wire."""

    DAY = "Day"
    WEEK = "Week"
    MONTH = "Month"
    YEAR = "Year"


class MeterPrice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one meter of a product costs.

    Attributes:
        meter_id: Which meter.
        price_per_unit: Decimal text in the currency's minor unit, per raw unit or per
            ``price_unit``.
        price_unit: Ours: what ``price_per_unit`` is for; a raw unit (a byte) when absent.
        free_threshold: Raw units that cost nothing, per billing cycle.
        credit_entitlement_id: Usage is taken from credits instead.
        meter_units_per_credit: Decimal text; required with ``credit_entitlement_id``.
        name: The meter's, in answers only.
        description: The meter's, in answers only.
        measurement_unit: The meter's, in answers only.
    """

    meter_id: str
    price_per_unit: str | None = None
    price_unit: ByteUnit | None = None
    free_threshold: int | None = None
    credit_entitlement_id: str | None = None
    meter_units_per_credit: str | None = None
    name: str | None = None
    description: str | None = None
    measurement_unit: str | None = None


class UsageBasedPrice(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="usage_based_price"
):
    """The price of a product that is billed by usage.

    Attributes:
        currency: ISO 4217.
        fixed_price: Minor units per billing cycle, whatever the usage.
        payment_frequency_count: Intervals per billing cycle.
        payment_frequency_interval: What a billing cycle is counted in.
        subscription_period_count: Intervals of the subscription's whole life.
        subscription_period_interval: What its life is counted in.
        discount: Percent; Dodo's.
        discount_bps: Basis points; wins over ``discount``.
        purchasing_power_parity: Dodo's; kept, without effect here.
        tax_inclusive: Dodo's; kept, without effect here.
        meters: What each meter costs.
    """

    currency: str
    fixed_price: int
    payment_frequency_count: int
    payment_frequency_interval: Interval
    subscription_period_count: int
    subscription_period_interval: Interval
    discount: int = 0
    discount_bps: int | None = None
    purchasing_power_parity: bool = False
    tax_inclusive: bool | None = None
    meters: tuple[MeterPrice, ...] | None = None


def price_per_raw_unit(price: MeterPrice) -> Fraction:
    """Return minor units per raw unit, exactly."""
    assert price.price_per_unit is not None, "only meters with a price are rated"
    unit_bytes = 1 if price.price_unit is None else price.price_unit.bytes
    return Fraction(Decimal(price.price_per_unit)) / unit_bytes


def check_price(price: UsageBasedPrice, *, field: str = "price") -> UsageBasedPrice:
    """Return ``price`` as it is kept.

    Raises:
        InvalidInputError: A value breaks one of the contract's rules.
    """
    currency = check_currency(price.currency, field=f"{field}.currency")
    _check_range(price.fixed_price, f"{field}.fixed_price", 0, INT32_MAX)
    _check_range(price.payment_frequency_count, f"{field}.payment_frequency_count", 1)
    _check_range(price.subscription_period_count, f"{field}.subscription_period_count", 1)
    _check_range(price.discount, f"{field}.discount", 0, 100)
    _check_range(price.discount_bps or 0, f"{field}.discount_bps", 0, 10_000)
    _check_life(price, field)
    meters = price.meters or ()
    if len(meters) > METERS_PER_PRODUCT_MAX:
        raise InvalidInputError(
            f"{field}.meters", len(meters), f"have at most {METERS_PER_PRODUCT_MAX} meters"
        )
    checked = tuple(
        check_meter_price(meter, field=f"{field}.meters[{index}]")
        for index, meter in enumerate(meters)
    )
    ids = [meter.meter_id for meter in checked]
    if len(set(ids)) != len(ids):
        raise RepeatedMeterError(f"{field}.meters", ids, "name each meter once")
    return msgspec.structs.replace(price, currency=currency, meters=checked)


def check_meter_price(price: MeterPrice, *, field: str) -> MeterPrice:
    """Return the price of one meter as it is kept, its text plain.

    Raises:
        InvalidInputError: A value breaks one of the contract's rules.
    """
    if price.free_threshold is not None:
        _check_range(price.free_threshold, f"{field}.free_threshold", 0, 10**NUMBER_DIGITS_MAX - 1)
    if price.credit_entitlement_id is None:
        if price.meter_units_per_credit is not None:
            raise InvalidInputError(
                f"{field}.meter_units_per_credit",
                price.meter_units_per_credit,
                "stand beside a credit_entitlement_id",
            )
        per_unit = _check_decimal(price.price_per_unit, f"{field}.price_per_unit")
        return msgspec.structs.replace(price, price_per_unit=per_unit)
    per_credit = _check_decimal(price.meter_units_per_credit, f"{field}.meter_units_per_credit")
    per_unit_given = price.price_per_unit
    return msgspec.structs.replace(
        price,
        meter_units_per_credit=per_credit,
        price_per_unit=None
        if per_unit_given is None
        else _check_decimal(per_unit_given, f"{field}.price_per_unit"),
    )


def _check_decimal(text: str | None, field: str) -> str:
    if text is None or _PRICE.fullmatch(text) is None or Decimal(text) == 0:
        raise InvalidInputError(field, text, _PRICE_RULE)
    plain = format(Decimal(text), "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _check_range(number: int, field: str, smallest: int, largest: int = PERIOD_COUNT_MAX) -> None:
    if not smallest <= number <= largest:
        raise InvalidInputError(field, number, f"be from {smallest} to {largest}")


def _check_life(price: UsageBasedPrice, field: str) -> None:
    years = {
        Interval.DAY: Fraction(1, 365),
        Interval.WEEK: Fraction(7, 365),
        Interval.MONTH: Fraction(1, 12),
        Interval.YEAR: Fraction(1),
    }
    life = price.subscription_period_count * years[price.subscription_period_interval]
    if life > SUBSCRIPTION_YEARS_MAX:
        raise InvalidInputError(
            f"{field}.subscription_period_count",
            price.subscription_period_count,
            f"give a life of at most {SUBSCRIPTION_YEARS_MAX} years",
        )
