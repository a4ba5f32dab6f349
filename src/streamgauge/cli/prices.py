"""A price as people say it, as the API takes it, and as Dodo's dashboard takes it; all exact."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

import msgspec

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.units import ByteUnit, parse_bytes, parse_unit
from streamgauge.server.rating.money import check_currency, exact_text, places

_AMOUNT: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
# Dodo's prices have at most so many places after the point, in minor units.
_PLACES_MAX: Final = 12
_BYTE_LABELS: Final = frozenset({"byte", "bytes"})


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a meter's unit costs.

    Attributes:
        currency: ISO 4217.
        amount: Major units of the currency per ``per``, as typed.
        per: A unit of bytes; None for the meter's own unit.
        free: Raw units per period that cost nothing.
    """

    currency: str
    amount: Decimal
    per: ByteUnit | None
    free: int | None

    @property
    def price_per_unit(self) -> str:
        """Return minor units per ``per``, as the API takes it."""
        return exact_text(Fraction(self.amount) * 10 ** places(self.currency))

    @property
    def minor_per_raw_unit(self) -> Fraction:
        """Return minor units per raw unit, such as a byte."""
        return Fraction(self.price_per_unit) / (self.per.bytes if self.per else 1)

    @property
    def raw_text(self) -> str | None:
        """Return ``minor_per_raw_unit`` if Dodo's field can hold it exactly."""
        text = exact_text(self.minor_per_raw_unit)
        if "/" in text or len(text.partition(".")[2]) > _PLACES_MAX:
            return None
        return text

    @property
    def raw_major_text(self) -> str | None:
        """Return the price of a raw unit in whole currency, if Dodo's field can hold it."""
        if self.raw_text is None:
            return None
        return exact_text(self.minor_per_raw_unit / 10 ** places(self.currency))


def parse_price(
    amount: str | None, per: str | None, free: str | None, currency: str | None, unit: str
) -> Price | None:
    """Return the price that the options spell; None without ``--price``.

    Raises:
        InvalidInputError: An option breaks a rule, or the others need it.
    """
    if amount is None:
        for option, given in (("--per", per), ("--free", free), ("--currency", currency)):
            if given is not None:
                raise InvalidInputError(option, given, "stand beside --price")
        return None
    if currency is None:
        raise InvalidInputError("--currency", None, "be given with --price, such as USD")
    if _AMOUNT.fullmatch(amount) is None or Decimal(amount) == 0:
        raise InvalidInputError("--price", amount, "be an amount above 0, such as 0.05")
    return Price(
        currency=check_currency(currency, field="--currency"),
        amount=Decimal(amount),
        per=_per(per, unit),
        free=None if free is None else _free(free, unit),
    )


def _per(per: str | None, unit: str) -> ByteUnit | None:
    if per is None or per == unit:
        return None
    if unit not in _BYTE_LABELS:
        raise InvalidInputError("--per", per, f"be left out: the meter's unit is {unit}, not byte")
    return parse_unit(per, field="--per")


def _free(free: str, unit: str) -> int:
    if unit in _BYTE_LABELS:
        return parse_bytes(free, field="--free")
    if not (free.isascii() and free.isdigit()):
        raise InvalidInputError("--free", free, f"be a whole number of {unit}")
    return int(free)
