from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.core.backoff import Backoff


def test_waits_double_up_to_the_longest_and_start_again() -> None:
    backoff = Backoff(first_s=1, longest_s=8, jitter=lambda: 1.0)
    assert [backoff.next_s() for _ in range(6)] == [1, 2, 4, 8, 8, 8]
    backoff.reset()
    assert backoff.next_s() == 1


@given(st.lists(st.floats(min_value=0, max_value=1, exclude_max=True), max_size=30))
def test_a_wait_is_between_half_its_bound_and_its_bound(jitters: list[float]) -> None:
    given_jitters = iter(jitters)
    backoff = Backoff(first_s=0.5, longest_s=60, jitter=lambda: next(given_jitters))
    bound_s = 0.5
    for _ in jitters:
        assert bound_s / 2 <= backoff.next_s() <= bound_s <= 60
        bound_s = min(bound_s * 2, 60)
