"""Money: whole minor units of a currency, rounded once, half to even."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from streamgauge.core.errors import InvalidInputError

ROUNDING_RULE: Final = "exact until the line, then rounded once to the minor unit, half to even"

_CODES_BY_PLACES: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP "
    "BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD "
    "FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD "
    "KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD "
    "NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP "
    "SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED "
    "VES WST XCD XCG YER ZAR ZMW ZWG",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_PLACES: Final = {
    code: places for places, codes in _CODES_BY_PLACES.items() for code in codes.split()
}


def places(currency: str) -> int:
    """Return the decimal places of a currency's major unit, as ISO 4217 has them.

    Raises:
        InvalidInputError: ISO 4217 has no such currency.
    """
    check_currency(currency)
    return _PLACES[currency]


def check_currency(currency: str, *, field: str = "currency") -> str:
    """Return ``currency`` if it is one.

    Raises:
        InvalidInputError: ISO 4217 has no such currency.
    """
    if currency not in _PLACES:
        raise InvalidInputError(field, currency, "be a code of ISO 4217, in capitals")
    return currency


def round_minor(exact: Fraction) -> int:
    """Return an exact amount of minor units as a whole one, half to even."""
    return round(exact)


def exact_text(number: Fraction) -> str:
    """Return ``number`` as a plain decimal if it is one, else as ``numerator/denominator``."""
    twos = fives = 0
    rest = number.denominator
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return f"{number.numerator}/{number.denominator}"
    shift = max(twos, fives)
    digits = abs(number.numerator) * 10**shift // number.denominator
    text = str(digits).rjust(shift + 1, "0")
    sign = "-" if number < 0 else ""
    return (
        f"{sign}{text[: len(text) - shift]}.{text[len(text) - shift :]}" if shift else sign + text
    )


def format_money(minor: int, currency: str) -> str:
    """Return an amount for people, such as ``0.30 USD``."""
    shift = places(currency)
    text = str(abs(minor)).rjust(shift + 1, "0")
    whole, part = text[: len(text) - shift], text[len(text) - shift :]
    return f"{'-' if minor < 0 else ''}{whole}{'.' + part if part else ''} {currency}"


def exact_money(minor: Fraction, currency: str) -> str:
    """Return an exact amount of minor units for people, such as ``0.305 USD``; never rounded."""
    return f"{exact_text(minor / 10 ** places(currency))} {currency}"
