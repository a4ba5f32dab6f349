"""Units of bytes, exact: GB is 10^9 bytes, GiB is 2^30."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from streamgauge.core.errors import InvalidInputError


class ByteUnit(StrEnum):
    """A unit in which bytes are priced or shown; the value is the word on the wire."""

    BYTE = "byte"
    KB = "KB"
    MB = "MB"
    GB = "GB"
    TB = "TB"
    KIB = "KiB"
    MIB = "MiB"
    GIB = "GiB"
    TIB = "TiB"

    @property
    def bytes(self) -> int:
        """Return how many bytes one of this unit is."""
        return _BYTES[self]


_BYTES: Final = {
    ByteUnit.BYTE: 1,
    ByteUnit.KB: 10**3,
    ByteUnit.MB: 10**6,
    ByteUnit.GB: 10**9,
    ByteUnit.TB: 10**12,
    ByteUnit.KIB: 2**10,
    ByteUnit.MIB: 2**20,
    ByteUnit.GIB: 2**30,
    ByteUnit.TIB: 2**40,
}
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")


def parse_unit(text: str, *, field: str = "unit") -> ByteUnit:
    """Return the unit named ``text``, exactly as written.

    Raises:
        InvalidInputError: No unit has that name.
    """
    try:
        return ByteUnit(text)
    except ValueError:
        raise InvalidInputError(field, text, f"be one of {', '.join(ByteUnit)}") from None


def parse_bytes(text: str, *, field: str = "quantity") -> int:
    """Return the bytes that ``text`` names, such as ``10GB``, ``1.5 GiB`` or ``4096``.

    Raises:
        InvalidInputError: The text is no quantity, or not a whole number of bytes.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise InvalidInputError(field, text, "be a number and a unit, such as 10GB or 1.5 GiB")
    unit = parse_unit(match[2], field=field) if match[2] else ByteUnit.BYTE
    quantity = Fraction(match[1]) * unit.bytes
    if quantity.denominator != 1:
        raise InvalidInputError(field, text, "be a whole number of bytes")
    return quantity.numerator


def format_bytes(quantity: int) -> str:
    """Return a short decimal text for people, such as ``1.23 GB``; never parse it back."""
    unit = ByteUnit.BYTE
    for larger in (ByteUnit.KB, ByteUnit.MB, ByteUnit.GB, ByteUnit.TB):
        if abs(quantity) >= larger.bytes:
            unit = larger
    if unit is ByteUnit.BYTE:
        return f"{quantity} B"
    return f"{Decimal(quantity) / unit.bytes:.2f} {unit}"
