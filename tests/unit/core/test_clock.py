from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.core.clock import MINUTE_NS, SystemClock, iso, to_ns, utc, window_start_ns

MOMENTS = st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1))  # noqa: DTZ001 - naive on purpose


@given(MOMENTS, st.integers(min_value=-14 * 60, max_value=14 * 60))
def test_a_moment_survives_nanoseconds_in_every_zone(naive: datetime, minutes: int) -> None:
    aware = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert utc(to_ns(aware)) == aware
    assert datetime.fromisoformat(iso(aware)) == aware
    assert iso(aware).endswith("Z")


@given(MOMENTS)
def test_a_naive_moment_is_taken_as_utc(naive: datetime) -> None:
    assert to_ns(naive) == to_ns(naive.replace(tzinfo=UTC))


@given(st.integers(min_value=0, max_value=2**62), st.sampled_from([1, 60, 300, 3600, 86400]))
def test_every_instant_is_in_exactly_one_window(at_ns: int, window_s: int) -> None:
    start = window_start_ns(at_ns, window_s)
    assert start <= at_ns < start + window_s * 1_000_000_000
    assert start % (window_s * 1_000_000_000) == 0
    assert window_start_ns(start, window_s) == start


def test_a_minute_window_starts_on_the_minute() -> None:
    at = to_ns(datetime(2026, 11, 24, 12, 34, 56, 789, tzinfo=UTC))
    assert utc(window_start_ns(at, 60)) == datetime(2026, 11, 24, 12, 34, tzinfo=UTC)
    assert window_start_ns(at, 60) % MINUTE_NS == 0


def test_the_clocks_of_the_machine_go_forward() -> None:
    clock = SystemClock()
    assert clock.monotonic_ns() <= clock.monotonic_ns()
    assert utc(clock.time_ns()) > datetime(2020, 1, 1, tzinfo=UTC)
