from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamgauge.testing import MemorySink

SESSIONS = st.integers(0, 4)
QUANTITIES = st.integers(0, 10**12)
STEPS = st.one_of(
    st.tuples(st.just("add"), SESSIONS, QUANTITIES),
    st.tuples(st.just("plain"), SESSIONS, QUANTITIES),
    st.tuples(st.just("merged"), SESSIONS, QUANTITIES),
    st.tuples(st.just("end"), SESSIONS, st.just(0)),
    st.tuples(st.just("drop"), SESSIONS, st.just(0)),
    st.tuples(st.just("wait"), st.just(0), st.integers(0, 100)),
    st.tuples(st.just("tick"), st.just(0), st.integers(0, 1)),
    st.tuples(st.just("deliver"), st.just(0), st.just(0)),
    st.tuples(st.just("fail"), st.just(0), st.just(0)),
)


class Play:
    """Does one step after the other, and keeps its own count."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.counted: Counter[str] = Counter()
        self.sessions = {n: host.session(f"c{n % 3}") for n in range(5)}

    def add(self, n: int, amount: int) -> None:
        self.sessions[n].add(amount)
        self.counted[f"c{n % 3}"] += amount

    def plain(self, n: int, amount: int) -> None:
        self.host.track(amount, f"c{n % 3}")
        self.counted[f"c{n % 3}"] += amount

    def merged(self, n: int, amount: int) -> None:
        self.host.engine.coalescer.add(self.host.group(f"c{n % 3}"), amount)
        self.counted[f"c{n % 3}"] += amount

    def end(self, n: int, _amount: int) -> None:
        self.sessions[n].close()

    def drop(self, n: int, _amount: int) -> None:
        self.sessions[n] = self.host.session(f"c{n % 3}")

    def wait(self, _n: int, seconds: int) -> None:
        self.host.clock.advance(seconds)

    def tick(self, _n: int, cut_open: int) -> None:
        self.host.engine.tick(cut_open=bool(cut_open))

    def fail(self, _n: int, _amount: int) -> None:
        self.host.sink.lose_next_answer()

    def deliver(self, _n: int, _amount: int) -> None:
        self.host.engine.deliver()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(STEPS, max_size=60))
def test_no_interleaving_of_adds_cuts_and_ends_changes_the_sum(
    stepped: Callable[..., Any], steps: list[tuple[str, int, int]]
) -> None:
    host = stepped(MemorySink(), batch_events_max=2)
    play = Play(host)
    for kind, n, amount in steps:
        getattr(play, kind)(n, amount)
        assert host.stats().holds
        assert host.stats().counted_bytes == play.counted.total()
    host.engine.stop_counting()
    while host.engine.deliver() is not None:
        pass
    host.engine.close()
    assert +Counter(host.sink.bytes_by_customer()) == +play.counted
    assert host.stats().acknowledged_bytes == play.counted.total()
    assert host.root.names() == []
