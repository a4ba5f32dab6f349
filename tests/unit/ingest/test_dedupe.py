from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from streamgauge.core.ids import event_id
from streamgauge.server.ingest.dedupe import KnownIds, Runs

WRITER = "0123456789abcdef" * 2
spans = some.tuples(some.integers(0, 60), some.integers(0, 8)).map(lambda s: (s[0], s[0] + s[1]))


@given(some.lists(spans, max_size=30))
def test_runs_hold_what_a_set_holds_in_the_fewest_intervals(added: list[tuple[int, int]]) -> None:
    runs, model = Runs(), set[int]()
    for first, last in added:
        runs.add(first, last)
        model |= set(range(first, last + 1))
        assert {number for number in range(80) if number in runs} == model
    starts = [number for number in model if number - 1 not in model]
    assert [first for first, _ in runs.intervals()] == sorted(starts)
    assert len(runs) == len(starts)


@given(some.lists(some.integers(0, 300), unique=True))
def test_ids_are_known_once_added_and_not_before(numbers: list[int]) -> None:
    known = KnownIds(b"key")
    for number in numbers:
        for id in (event_id(WRITER, number), f"foreign_{number}"):
            assert id not in known
            known.add(id)
            assert id in known
    assert event_id("f" * 32, 1) not in known


@given(some.lists(some.tuples(some.sampled_from("ab?"), some.integers(0, 9)), max_size=40))
def test_ids_added_together_are_those_added_one_by_one(pairs: list[tuple[str, int]]) -> None:
    ids = [f"odd{number}" if w == "?" else event_id(w * 32, number) for w, number in pairs]
    together, single = KnownIds(b"key"), KnownIds(b"key")
    together.add_all(ids)
    for id in ids:
        single.add(id)
    assert together.sizes() == single.sizes()
    assert all(id in together for id in ids)
    others = {event_id(w * 32, number) for w in "ab" for number in range(10)} - set(ids)
    assert not any(id in together for id in others)


def test_a_writers_ids_cost_one_interval_however_many() -> None:
    known = KnownIds(b"key")
    for number in range(10_000):
        known.add(event_id(WRITER, number))
    known.add("something else")
    assert known.sizes() == (1, 1)


def test_ids_that_only_look_like_ours_are_kept_apart() -> None:
    known = KnownIds(b"key")
    known.add_run(WRITER, 5, 7)
    assert f"{WRITER}-6" in known
    for near in (f"{WRITER}-06", f"{WRITER.upper()}-6", f"{WRITER}-6 ", WRITER, f"{WRITER}-8"):
        assert near not in known
