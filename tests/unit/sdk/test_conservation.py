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


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(STEPS, max_size=60))
def test_no_interleaving_of_adds_cuts_and_ends_changes_the_sum(
    stepped: Callable[..., Any], steps: list[tuple[str, int, int]]
) -> None:
    host = stepped(MemorySink(), batch_events_max=2)
    counted: Counter[str] = Counter()
    sessions = {n: host.session(f"c{n % 3}") for n in range(5)}
    for kind, n, amount in steps:
        customer = f"c{n % 3}"
        if kind == "add":
            sessions[n].add(amount)
            counted[customer] += amount
        elif kind == "plain":
            host.track(amount, customer)
            counted[customer] += amount
        elif kind == "merged":
            host.engine.coalescer.add(host.group(customer), amount)
            counted[customer] += amount
        elif kind == "end":
            sessions[n].close()
        elif kind == "drop":
            sessions[n] = host.session(customer)
        elif kind == "wait":
            host.clock.advance(amount)
        elif kind == "tick":
            host.engine.tick(cut_open=bool(amount))
        elif kind == "fail":
            host.sink.lose_next_answer()
        else:
            host.engine.deliver()
        assert host.stats().holds
        assert host.stats().counted_bytes == counted.total()
    host.engine.stop_counting()
    while host.engine.deliver() is not None:
        pass
    host.engine.close()
    assert +Counter(host.sink.bytes_by_customer()) == +counted
    assert host.stats().acknowledged_bytes == counted.total()
    assert host.root.names() == []
