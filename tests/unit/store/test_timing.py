from __future__ import annotations

import pytest

from streamgauge.server.store import timing
from streamgauge.server.store.timing import BOUNDS_S, QueryTimes
from streamgauge.server.telemetry import QueryCollector


def test_each_query_is_in_one_place_by_how_long_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.005, 0.0, 0.006, 0.0, 60.0, 0.0, 1.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    times = QueryTimes()
    for _ in range(3):
        with times.timed("usage"):
            pass
    with pytest.raises(ZeroDivisionError), times.timed("event"):
        _ = 1 // 0
    found = times.read()
    assert found["usage"].counts == [1, 1, *[0] * (len(BOUNDS_S) - 2), 1]
    assert found["usage"].total_s == pytest.approx(60.011)
    assert sum(found["event"].counts) == 1


def test_the_histogram_is_cumulative_as_prometheus_reads_it() -> None:
    times = QueryTimes()
    with times.timed("usage"):
        pass
    (family,) = QueryCollector(times.read()).collect()
    by_name = {(one.name, one.labels.get("le")): one.value for one in family.samples}
    assert by_name["streamgauge_query_seconds_bucket", "0.005"] == 1
    assert by_name["streamgauge_query_seconds_bucket", "+Inf"] == 1
    assert by_name["streamgauge_query_seconds_count", None] == 1
