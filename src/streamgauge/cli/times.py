"""Instants on a command line: RFC 3339, a date, or a month; without a zone they are UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import click

from streamgauge.core.errors import InvalidInputError

_MONTH: Final = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])")
_RULE: Final = "be an instant such as 2026-11-01T00:00Z, a date (2026-11-01) or a month (2026-11)"


def parse_instant(text: str, *, field: str) -> datetime:
    """Return the aware instant that ``text`` names: the first one of a date or a month.

    Raises:
        InvalidInputError: It names none.
    """
    if text == "now":
        return datetime.now(UTC).replace(second=0, microsecond=0)
    try:
        at = datetime.fromisoformat(f"{text}-01" if _MONTH.fullmatch(text) else text)
    except ValueError:
        raise InvalidInputError(field, text, _RULE) from None
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:
        raise InvalidInputError(field, text, "lie within the years 1 to 9999 in UTC") from None


class _Instant(click.ParamType[datetime]):
    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        del ctx
        if isinstance(value, datetime):
            return value
        field = param.opts[0] if param is not None else "time"
        return parse_instant(str(value), field=field)


INSTANT: Final = _Instant()
"""The type of an option that takes an instant."""
