from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from streamgauge.core.errors import InvalidInputError, UnavailableError
from streamgauge.server.metering.filters import Condition, Conjunction, Filter, Operator
from streamgauge.server.metering.meter import Meter
from streamgauge.server.store import Bucket, rollups
from streamgauge.server.store.engine import Engine

LAST = 2**32 - 1


def cut(segment: int) -> int:
    return segment << 32 | LAST


def quality(text: str, key: str = "quality") -> Filter:
    leaf = Condition(key=key, operator=Operator.EQUALS, value=f'"{text}"')
    return Filter(conjunction=Conjunction.AND, clauses=(leaf,))


def kept_rollups(shelf: Any) -> list[int]:
    query = "SELECT id FROM rollups FINAL WHERE state != 2 ORDER BY id"
    return [id for (id,) in shelf.store._engine.rows(query)]


def total(shelf: Any, meter: Meter, **changes: Any) -> Fraction:
    return sum((row.quantity for row in shelf.both_ways(meter, **changes)), Fraction(0))


def test_a_segment_inserted_again_changes_nothing(shelf: Any, new_meter: Any) -> None:
    meter = new_meter()
    shelf.roll_up(meter, 0)
    for _ in range(3):
        shelf.insert_values(1, "1", "2")
        shelf.insert_values(2, "4")
    assert total(shelf, meter) == 7
    shelf.reopen()
    shelf.insert_values(1, "1", "2")
    assert total(shelf, meter) == 7


def test_a_segment_of_many_months_inserted_again_changes_nothing(
    shelf: Any, new_meter: Any
) -> None:
    meter = new_meter()
    shelf.roll_up(meter, 0)
    rows = [
        shelf.row(f"e{n}", timestamp=f"{2015 + n // 12}-{n % 12 + 1:02}-01T00:00:00Z")
        | {"metadata": {"bytes": "1"}}
        for n in range(30)
    ]
    whole = {"start": datetime(2015, 1, 1, tzinfo=UTC)}
    for _ in range(2):
        shelf.insert(1, *rows)
        assert total(shelf, meter, **whole) == 30


def test_a_new_rollup_takes_what_was_stored_and_what_comes_each_once(
    shelf: Any, new_meter: Any
) -> None:
    meter = new_meter()
    shelf.insert_values(1, "1", "2")
    shelf.roll_up(meter, cut(1))
    shelf.insert_values(2, "4")
    # A replay brings the rows before the cut to the view again.
    shelf.insert_values(1, "1", "2")
    shelf.roll_up(meter, cut(2))
    assert total(shelf, meter) == 7


def test_a_rollup_that_died_before_its_backfill_is_finished(
    shelf: Any, new_meter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = new_meter()
    shelf.insert_values(1, "1", "2")
    with monkeypatch.context() as broken:
        broken.setattr(rollups.Rollups, "_backfill", _refuse)
        with pytest.raises(UnavailableError):
            shelf.roll_up(meter, cut(1))
    shelf.reopen()
    shelf.insert_values(2, "4")
    shelf.roll_up(meter, cut(2))
    assert total(shelf, meter) == 7


@pytest.mark.parametrize("done", range(4))
def test_a_backfill_that_died_between_chunks_counts_none_twice(
    shelf: Any, new_meter: Any, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    meter = new_meter()
    rows = [
        shelf.row(f"e{n}", customer_id=f"cus_{n}", timestamp=f"2026-0{n % 2 + 1}-01T00:00:00Z")
        | {"metadata": {"bytes": "1"}}
        for n in range(20)
    ]
    shelf.insert(1, *rows)
    monkeypatch.setattr(rollups, "BACKFILL_CHUNK_ROWS", 6)
    real, calls = rollups.Rollups._backfill, []

    def dies(*given: Any) -> None:
        if len(calls) == done:
            raise UnavailableError("died")
        calls.append(given)
        real(*given)

    with monkeypatch.context() as broken:
        broken.setattr(rollups.Rollups, "_backfill", dies)
        with pytest.raises(UnavailableError, match="died"):
            shelf.roll_up(meter, cut(1))
    shelf.reopen()
    shelf.roll_up(meter, cut(1))
    assert total(shelf, meter) == 20


@pytest.mark.parametrize("view", ["to_minutes", "to_days", "to_months"])
def test_rows_that_missed_their_rollup_reach_it_by_the_same_token(
    shelf: Any, new_meter: Any, view: str
) -> None:
    # As a process leaves it that dies between a table and the view on it.
    meter = new_meter()
    shelf.roll_up(meter, 0)
    shelf.store._engine.define(f"DETACH TABLE {view}")
    shelf.insert_values(1, "1", "2")
    shelf.store._engine.define(f"ATTACH TABLE {view}")
    march = {"start": datetime(2026, 3, 1, tzinfo=UTC), "end": datetime(2026, 4, 1, tzinfo=UTC)}
    assert shelf.usage(meter, **march) == []
    for _ in range(2):
        shelf.insert_values(1, "1", "2")
        assert total(shelf, meter) == 3
        assert total(shelf, meter, bucket=Bucket.DAY) == 3
        assert total(shelf, meter, bucket=Bucket.MINUTE) == 3


def test_a_rollup_made_twice_is_made_once(shelf: Any, new_meter: Any) -> None:
    meter = new_meter()
    shelf.insert_values(1, "1")
    shelf.roll_up(meter, cut(1))
    shelf.roll_up(meter, cut(1))
    shelf.reopen()
    shelf.roll_up(meter, cut(5))
    assert total(shelf, meter) == 1
    assert kept_rollups(shelf) == [1]


def test_meters_that_differ_by_a_filter_on_known_keys_share_a_rollup(
    shelf: Any, new_meter: Any
) -> None:
    whole, hd, sd = new_meter(), new_meter(filter=quality("hd")), new_meter(filter=quality("sd"))
    shelf.store.plan_rollups([whole, hd], 0)
    rows = [
        shelf.row(f"e{n}", metadata={"bytes": "1", "quality": f'"{text}"'})
        for n, text in enumerate(["hd", "hd", "sd", "uhd"])
    ]
    shelf.insert(1, *rows)
    shelf.roll_up(sd, cut(1))
    assert kept_rollups(shelf) == [1]
    assert [total(shelf, meter) for meter in (whole, hd, sd)] == [4, 2, 1]
    groups = shelf.both_ways(whole, group_by=["quality"])
    assert [(row.group["quality"], row.quantity) for row in groups] == [
        ('"hd"', 2),
        ('"sd"', 1),
        ('"uhd"', 1),
    ]


def test_a_filter_on_a_new_key_gets_a_rollup_that_serves_the_older_meters_too(
    shelf: Any, new_meter: Any
) -> None:
    older, newer = new_meter(), new_meter("max", filter=quality("hd"))
    shelf.roll_up(older, 0)
    shelf.insert(1, shelf.row("a", metadata={"bytes": "1", "quality": '"hd"'}))
    shelf.store.plan_rollups([newer], cut(1))
    # While it is filled, events go to both.
    shelf.insert(2, shelf.row("b", metadata={"bytes": "2", "quality": '"hd"'}))
    assert not shelf.store.is_rolled_up(newer)
    assert total(shelf, older) == 3
    shelf.reopen()
    for segment in (1, 2):
        shelf.insert(
            segment,
            shelf.row("ab"[segment - 1], metadata={"bytes": str(segment), "quality": '"hd"'}),
        )
    assert total(shelf, older) == 3
    shelf.store.fill_rollups()
    assert total(shelf, older) == 3
    assert total(shelf, newer) == 2
    assert kept_rollups(shelf) == [2]
    shelf.insert(3, shelf.row("c", metadata={"bytes": "9", "quality": '"hd"'}))
    assert (total(shelf, older), total(shelf, newer)) == (12, 9)


def test_a_rollup_overtaken_while_it_is_filled_is_given_up(shelf: Any, new_meter: Any) -> None:
    first, second = new_meter(filter=quality("hd")), new_meter(filter=quality("hd", key="plan"))
    rows = [shelf.row("a", metadata={"bytes": "1", "quality": '"hd"', "plan": '"hd"'})]
    shelf.insert(1, *rows)
    shelf.store.plan_rollups([first], cut(1))
    shelf.store.plan_rollups([second], cut(1))
    shelf.store.fill_rollups()
    assert kept_rollups(shelf) == [2]
    assert [total(shelf, meter) for meter in (first, second)] == [1, 1]


def test_a_key_with_many_values_is_kept_as_yes_and_no(
    shelf: Any, new_meter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "ROLLUP_KEY_VALUES_MAX", 5)
    rows = [shelf.row(f"e{n}", metadata={"bytes": "1", "session": f'"s{n}"'}) for n in range(10)]
    shelf.insert(1, *rows)
    one, two = (new_meter(filter=quality(text, key="session")) for text in ("s1", "s2"))
    shelf.roll_up(one, cut(1))
    shelf.roll_up(two, cut(1))
    shelf.reopen()
    shelf.roll_up(one, cut(1))
    assert [total(shelf, meter) for meter in (one, two)] == [1, 1]
    ((distinct,),) = shelf.store._engine.rows(
        "SELECT uniq(labels) FROM minutes WHERE rollup_id = 2"
    )
    assert distinct == 3


def test_meters_businesses_and_modes_do_not_mix(shelf: Any, new_meter: Any) -> None:
    bytes_, live = new_meter(), new_meter(mode="live_mode")
    for meter in (bytes_, live):
        shelf.roll_up(meter, 0)
    shelf.insert(
        1,
        shelf.row("a", metadata={"bytes": "1"}),
        shelf.row("b", metadata={"bytes": "2"}, mode="live_mode"),
        shelf.row("c", metadata={"bytes": "4"}, business_id="bus_2"),
    )
    assert total(shelf, bytes_) == 1
    assert total(shelf, live, mode="live_mode") == 2
    assert shelf.usage(bytes_, mode="live_mode") == []


def test_hostile_texts_in_a_meter_stay_texts(shelf: Any, new_meter: Any) -> None:
    for text in ("'", "\\", "a'b\\'c", "{x:String}", "$1", "%s", "\x00", "; DROP TABLE x; --", "é"):
        leaf = Condition(key=text, operator=Operator.EQUALS, value='"1"')
        meter = new_meter(
            key=text,
            event_name=text,
            filter=Filter(conjunction=Conjunction.AND, clauses=(leaf,)),
        )
        shelf.roll_up(meter, 0)
        assert shelf.both_ways(meter, customer_id=text) == []
        found = shelf.store.events(
            business_id="bus_1", mode="test_mode", meter=meter, customer_id=text, event_name=text
        )
        assert found == []


def test_usage_is_cut_by_customer_bucket_and_group(shelf: Any, new_meter: Any) -> None:
    meter = new_meter()
    shelf.roll_up(meter, 0)
    rows = [
        ("a", "cus_1", "2026-03-01T10:00:59.999999Z", '"hd"'),
        ("b", "cus_1", "2026-03-01T10:01:00Z", '"hd"'),
        ("c", "cus_1", "2026-03-01T11:59:00Z", '"sd"'),
        ("d", "cus_2", "2026-03-02T00:00:00Z", None),
    ]
    shelf.insert(
        1,
        *(
            shelf.row(id, customer_id=customer, timestamp=at)
            | {"metadata": {"bytes": "1"} | ({} if quality is None else {"quality": quality})}
            for id, customer, at, quality in rows
        ),
    )
    hours = shelf.both_ways(meter, bucket=Bucket.HOUR)
    assert [(row.customer_id, row.bucket, row.quantity) for row in hours] == [
        ("cus_1", datetime(2026, 3, 1, 10, tzinfo=UTC), 2),
        ("cus_1", datetime(2026, 3, 1, 11, tzinfo=UTC), 1),
        ("cus_2", datetime(2026, 3, 2, 0, tzinfo=UTC), 1),
    ]
    months = shelf.both_ways(meter, bucket=Bucket.MONTH)
    assert {row.bucket for row in months} == {datetime(2026, 3, 1, tzinfo=UTC)}
    groups = shelf.usage(meter, group_by=["quality"])
    assert [(row.customer_id, row.group, row.quantity) for row in groups] == [
        ("cus_1", {"quality": '"hd"'}, 2),
        ("cus_1", {"quality": '"sd"'}, 1),
        ("cus_2", {"quality": ""}, 1),
    ]
    window = {
        "start": datetime(2026, 3, 1, 10, 1, tzinfo=UTC),
        "end": datetime(2026, 3, 1, 11, 59, tzinfo=UTC),
    }
    assert total(shelf, meter, **window) == 1
    assert total(shelf, meter, customer_id="cus_2") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)}, "start .* be on a whole UTC minute"),
        ({"end": datetime(2027, 1, 1, 0, 0, 0, 1, tzinfo=UTC)}, "end .* be on a whole UTC minute"),
        ({"end": datetime(2026, 1, 1, tzinfo=UTC)}, "end .* be after start"),
        ({"group_by": [""]}, "group_by key"),
        ({"group_by": ["a", "a"]}, "group_by .* different keys"),
        ({"group_by": list("abcdef")}, "group_by .* at most 5"),
    ],
)
def test_a_window_off_the_minute_and_bad_groups_are_refused(
    shelf: Any, new_meter: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        shelf.usage(new_meter(), **changes)


def _refuse(*_given: object) -> None:
    raise UnavailableError("the engine refuses")


def test_an_engine_that_cannot_open_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="the event engine does not open"):
        Engine(f"chdb://{tmp_path / 'file'}", query_clients=1)
