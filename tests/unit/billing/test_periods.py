from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.core.errors import InvalidInputError
from streamgauge.server.billing.periods import CALENDAR_MONTHS, Cycle, cycle, period_at
from streamgauge.server.rating.price import Interval

MOMENTS = st.datetimes(datetime(2015, 1, 1), datetime(2060, 1, 1)).map(  # noqa: DTZ001 - made aware
    lambda at: at.replace(tzinfo=UTC)
)
CYCLES = st.builds(
    cycle,
    started_at=MOMENTS,
    interval=st.sampled_from(Interval),
    count=st.integers(1, 36),
)


def day(year: int, month: int, day_of_month: int) -> datetime:
    return datetime(year, month, day_of_month, tzinfo=UTC)


@given(CYCLES, MOMENTS)
def test_every_moment_is_in_exactly_the_period_that_holds_it(periods: Cycle, at: datetime) -> None:
    number = periods.holding(at)

    assert periods.window(number).holds(at)
    assert not periods.window(number - 1).holds(at)
    assert not periods.window(number + 1).holds(at)


@given(CYCLES, st.integers(-40, 40))
def test_periods_follow_without_gap_or_overlap(periods: Cycle, number: int) -> None:
    period = periods.window(number)

    assert period.start < period.end
    assert periods.window(number + 1).start == period.end
    assert periods.holding(period.start) == number
    assert periods.holding(period.end - timedelta(microseconds=1)) == number


def test_a_month_end_clamps_and_comes_back() -> None:
    periods = cycle(day(2026, 1, 31), Interval.MONTH, 1)

    assert [periods.bound(number) for number in range(5)] == [
        day(2026, 1, 31),
        day(2026, 2, 28),
        day(2026, 3, 31),
        day(2026, 4, 30),
        day(2026, 5, 31),
    ]
    assert periods.holding(day(2026, 2, 28)) == 1
    assert periods.holding(day(2026, 3, 30)) == 1


def test_a_leap_day_comes_back_after_four_years() -> None:
    periods = cycle(day(2024, 2, 29), Interval.YEAR, 1)

    assert [periods.bound(number) for number in (1, 2, 3, 4)] == [
        day(2025, 2, 28),
        day(2026, 2, 28),
        day(2027, 2, 28),
        day(2028, 2, 29),
    ]


def test_a_period_starts_on_the_utc_minute_of_the_subscription() -> None:
    tokyo = timezone(timedelta(hours=9))
    started = datetime(2026, 3, 1, 8, 30, 59, 999_999, tzinfo=tokyo)

    assert cycle(started, Interval.DAY, 1).anchor == datetime(2026, 2, 28, 23, 30, tzinfo=UTC)


def test_weeks_and_days_have_their_length() -> None:
    assert cycle(day(2026, 1, 1), Interval.WEEK, 2).bound(1) == day(2026, 1, 15)
    assert cycle(day(2026, 1, 1), Interval.DAY, 30).bound(1) == day(2026, 1, 31)


def test_a_default_plan_has_calendar_months() -> None:
    period = period_at(CALENDAR_MONTHS, datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC))

    assert (period.start, period.end) == (day(2026, 12, 1), day(2027, 1, 1))


def test_nothing_is_billed_before_the_first_period() -> None:
    periods = cycle(day(2026, 1, 31), Interval.MONTH, 1)

    with pytest.raises(InvalidInputError, match="not be before the first period"):
        period_at(periods, day(2026, 1, 30))


def test_periods_are_listed_newest_first_and_the_running_one_is_among_them() -> None:
    periods = cycle(day(2026, 1, 1), Interval.MONTH, 1)

    starts = [window.start for window in periods.until(day(2026, 3, 15))]
    assert starts == [day(2026, 3, 1), day(2026, 2, 1), day(2026, 1, 1)]
