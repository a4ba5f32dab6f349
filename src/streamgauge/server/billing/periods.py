"""Billing periods: half-open, anchored where a subscription starts, on whole UTC minutes."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from streamgauge.core.errors import InvalidInputError
from streamgauge.server.metering.windows import Window, floor_minute
from streamgauge.server.rating.price import Interval

_MONTHS_PER_YEAR: Final = 12
_DAYS: Final = {Interval.DAY: 1, Interval.WEEK: 7}
_MONTHS: Final = {Interval.MONTH: 1, Interval.YEAR: _MONTHS_PER_YEAR}


class Cycle(msgspec.Struct, frozen=True, kw_only=True):
    """Periods one after another, numbered from 0 at the anchor.

    Attributes:
        anchor: Start of period 0; UTC, on the minute.
        interval: What a period is counted in.
        count: How many intervals a period has.
    """

    anchor: datetime
    interval: Interval
    count: int

    def bound(self, number: int) -> datetime:
        """Return the start of period ``number``, which is the end of the one before.

        A day that a month does not have becomes its last one, and comes back in longer months:
        January 31, February 28, March 31.
        """
        steps = number * self.count
        if self.interval in _DAYS:
            return self.anchor + timedelta(days=steps * _DAYS[self.interval])
        return add_months(self.anchor, steps * _MONTHS[self.interval])

    def window(self, number: int) -> Window:
        """Return period ``number``."""
        return Window(start=self.bound(number), end=self.bound(number + 1))

    def holding(self, at: datetime) -> int:
        """Return the number of the period that holds ``at``; below 0 before the anchor."""
        if self.interval in _DAYS:
            length = timedelta(days=self.count * _DAYS[self.interval])
            return (at - self.anchor) // length
        months = _months_between(self.anchor, at) // (self.count * _MONTHS[self.interval])
        # The day within the month decides between this period and the one before.
        return months if self.bound(months) <= at else months - 1

    def until(self, at: datetime) -> Iterator[Window]:
        """Yield the periods from the anchor to the one that holds ``at``, newest first."""
        for number in range(self.holding(at), -1, -1):
            yield self.window(number)


CALENDAR_MONTHS: Final = Cycle(
    anchor=datetime(2015, 1, 1, tzinfo=UTC), interval=Interval.MONTH, count=1
)
"""The periods of a default plan, from the earliest timestamp an event may have."""


def cycle(started_at: datetime, interval: Interval, count: int) -> Cycle:
    """Return the periods of a subscription, from the UTC minute it started in."""
    return Cycle(anchor=floor_minute(started_at), interval=interval, count=count)


def period_at(periods: Cycle, at: datetime, *, field: str = "at") -> Window:
    """Return the period that holds ``at``.

    Raises:
        InvalidInputError: ``at`` is before the first period.
    """
    number = periods.holding(at)
    if number < 0:
        raise InvalidInputError(
            field, at.isoformat(), f"not be before the first period, {periods.anchor.isoformat()}"
        )
    return periods.window(number)


def add_months(at: datetime, months: int) -> datetime:
    """Return ``at`` so many months on, on the same day or the month's last one."""
    year, month = divmod(at.year * _MONTHS_PER_YEAR + at.month - 1 + months, _MONTHS_PER_YEAR)
    day = min(at.day, calendar.monthrange(year, month + 1)[1])
    return at.replace(year=year, month=month + 1, day=day)


def _months_between(earlier: datetime, later: datetime) -> int:
    return (later.year - earlier.year) * _MONTHS_PER_YEAR + later.month - earlier.month
