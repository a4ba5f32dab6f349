from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from streamgauge.core.errors import NotFoundError
from streamgauge.server.metering.filters import Condition, Conjunction, Filter, Operator
from streamgauge.server.store import RowsRefusedError, WriterRun

SCOPE = {"business_id": "bus_1", "mode": "test_mode"}
WRITER = "0123456789abcdef" * 2


def test_events_come_newest_first_and_ties_by_log_position(shelf: Any) -> None:
    shelf.insert(
        1, shelf.row("a"), shelf.row("b"), shelf.row("c", timestamp="2026-03-02T00:00:00Z")
    )
    shelf.insert(2, shelf.row("d"))
    assert [event.event_id for event in shelf.store.events(**SCOPE)] == ["c", "d", "b", "a"]
    pages = [
        [event.event_id for event in shelf.store.events(**SCOPE, limit=3, offset=offset)]
        for offset in (0, 3, 6)
    ]
    assert pages == [["c", "d", "b"], ["a"], []]


def test_an_event_comes_back_as_it_was_accepted(shelf: Any) -> None:
    metadata = {"bytes": "18446744073709551616", "quality": '"1080p \\"x\\""', "live": "true"}
    shelf.insert(3, shelf.row("a/b ?c", metadata=metadata, timestamp="2026-03-01T12:00:00.000001Z"))
    event = shelf.store.event("a/b ?c", **SCOPE)
    assert event.metadata == metadata
    assert event.timestamp == datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC)
    assert event.timestamp.tzinfo is UTC
    assert event.log_position == 3 << 32
    assert shelf.store.events(**SCOPE) == [event]


def test_an_event_of_another_mode_is_not_there(shelf: Any) -> None:
    shelf.insert(1, shelf.row("a", mode="live_mode"), shelf.row("A"))
    for id in ("a", "b", "'"):
        with pytest.raises(NotFoundError, match="no event has the id"):
            shelf.store.event(id, **SCOPE)


def test_events_are_filtered_by_every_given_line(shelf: Any, new_meter: Any) -> None:
    leaf = Condition(key="quality", operator=Operator.EQUALS, value='"hd"')
    meter = new_meter(filter=Filter(conjunction=Conjunction.AND, clauses=(leaf,)))
    shelf.insert(
        1,
        shelf.row("a", metadata={"quality": '"hd"'}),
        shelf.row("b", customer_id="cus_2"),
        shelf.row("c", event_name="download"),
        shelf.row("d", timestamp="2026-03-01T13:00:00Z"),
    )

    def found(**given: object) -> list[str]:
        return [event.event_id for event in shelf.store.events(**SCOPE, **given)]

    assert found(customer_id="cus_2") == ["b"]
    assert found(event_name="download") == ["c"]
    assert found(meter=meter) == ["a"]
    at = datetime(2026, 3, 1, 13, tzinfo=UTC)
    assert found(start=at) == ["d"]
    assert found(end=at) == ["c", "b", "a"]
    assert found(meter=meter, start=at) == []


def test_all_ids_come_back_as_runs_and_foreign_ids(shelf: Any) -> None:
    numbers = [0, 1, 2, 5, 6, 10**17]
    ours = [shelf.row(f"{WRITER}-{number}") for number in numbers]
    odd = [f"{WRITER}-007", f"{WRITER.upper()}-7", "é", f"{WRITER}-{10**18}"]
    shelf.insert(
        1, *ours, *(shelf.row(id) for id in odd), shelf.row(f"{WRITER}-3", mode="live_mode")
    )
    runs = list(shelf.store.writer_runs())
    assert sorted((run.mode, run.first, run.last) for run in runs) == [
        ("live_mode", 3, 3),
        ("test_mode", 0, 2),
        ("test_mode", 5, 6),
        ("test_mode", 10**17, 10**17),
    ]
    assert runs[0] == WriterRun(
        business_id="bus_1",
        mode=runs[0].mode,
        writer_id=WRITER,
        first=runs[0].first,
        last=runs[0].last,
    )
    (found,) = shelf.store.foreign_ids()
    assert {place: sorted(ids) for place, ids in found.items()} == {
        ("bus_1", "test_mode"): sorted(odd)
    }


def test_the_newest_segment_and_the_window_are_told(shelf: Any) -> None:
    assert shelf.store.newest_segment() == 0
    shelf.insert(7, shelf.row("a"))
    assert shelf.store.newest_segment() == 7
    assert shelf.store.deduplication_window() == 10_000


def test_rows_that_are_never_taken_are_told_from_an_engine_that_is_away(shelf: Any) -> None:
    bad = shelf.row("b", timestamp="no time at all")
    with pytest.raises(RowsRefusedError) as refused:
        shelf.insert(1, shelf.row("a"), bad)
    assert refused.value.engine_code == 41
    assert shelf.store.rows_of_segments(1) == {}
    shelf.insert(1, shelf.row("a"))
    assert shelf.store.rows_of_segments(1) == {1: 1}
