from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.core.errors import InvalidInputError
from streamgauge.server.metering.windows import Window, check_window, floor_minute, in_utc, without

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_a_window_holds_its_start_and_not_its_end() -> None:
    window = check_window(NOON, NOON + timedelta(minutes=1))

    assert window.holds(NOON)
    assert window.holds(NOON + timedelta(seconds=59, microseconds=999_999))
    assert not window.holds(NOON + timedelta(minutes=1))
    assert window.minutes() == 1


@pytest.mark.parametrize("off", [timedelta(seconds=1), timedelta(microseconds=1)])
def test_a_bound_off_the_minute_is_refused(off: timedelta) -> None:
    with pytest.raises(InvalidInputError, match=r"start is .* whole UTC minute"):
        check_window(NOON + off, NOON + timedelta(hours=1))
    with pytest.raises(InvalidInputError, match=r"end is .* whole UTC minute"):
        check_window(NOON, NOON + timedelta(hours=1) + off)


def test_an_offset_off_the_minute_of_utc_is_refused() -> None:
    odd = timezone(timedelta(hours=5, minutes=30, seconds=15))

    with pytest.raises(InvalidInputError, match="whole UTC minute"):
        check_window(NOON.astimezone(odd).replace(second=0), NOON + timedelta(hours=1))


@pytest.mark.parametrize("length", [timedelta(0), timedelta(minutes=-1)])
def test_an_empty_window_is_refused(length: timedelta) -> None:
    with pytest.raises(InvalidInputError, match="be after start"):
        check_window(NOON, NOON + length)


def test_naive_bounds_are_utc() -> None:
    assert in_utc(datetime(2026, 3, 1, 12, 0)) == NOON  # noqa: DTZ001 - the point of the test
    assert floor_minute(NOON + timedelta(seconds=59)) == NOON


def minutes(first: int, last: int) -> Window:
    return Window(start=NOON + timedelta(minutes=first), end=NOON + timedelta(minutes=last))


SOME = st.tuples(st.integers(0, 40), st.integers(1, 20)).map(lambda two: minutes(two[0], sum(two)))


@given(SOME, st.lists(SOME, max_size=5))
def test_what_is_left_is_each_minute_that_no_other_window_has(
    window: Window, others: list[Window]
) -> None:
    left = without(window, others)

    for number in range(-1, 70):
        at = NOON + timedelta(minutes=number)
        free = window.holds(at) and not any(other.holds(at) for other in others)
        assert sum(part.holds(at) for part in left) == free
    assert all(one.end < after.start for one, after in itertools.pairwise(left))
