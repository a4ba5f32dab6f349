from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from streamgauge.core.ids import event_id
from streamgauge.server.ingest.decode import Scope
from streamgauge.server.ingest.dedupe import KnownIds
from streamgauge.server.ingest.runs import Runs

WRITER = "0123456789abcdef" * 2
SCOPE, OTHER = Scope("bus_1", "test_mode"), Scope("bus_1", "live_mode")
spans = some.tuples(some.integers(0, 60), some.integers(0, 8)).map(lambda s: (s[0], s[0] + s[1]))
ids = some.tuples(some.sampled_from("ab?"), some.integers(0, 12)).map(
    lambda pair: f"odd{pair[1]}" if pair[0] == "?" else event_id(pair[0] * 32, pair[1])
)
batches = some.lists(ids, min_size=1, max_size=9, unique=True)


def known_of(known: KnownIds, *event_ids: str, scope: Scope = SCOPE) -> list[bool]:
    return known.known(known.keys(scope, event_ids))


def add(known: KnownIds, *event_ids: str, scope: Scope = SCOPE) -> None:
    known.add(known.keys(scope, event_ids))


@given(some.lists(spans, max_size=30))
def test_runs_hold_what_a_set_holds_in_the_fewest_intervals(added: list[tuple[int, int]]) -> None:
    runs, model = Runs(), set[int]()
    for first, last in added:
        runs.add(first, last)
        model |= set(range(first, last + 1))
        assert {number for number in range(80) if number in runs} == model
        assert runs.meets(10, 20) == any(10 <= number <= 20 for number in model)
    starts = [number for number in model if number - 1 not in model]
    assert [first for first, _ in runs.intervals()] == sorted(starts)
    assert len(runs) == len(starts)


@given(some.lists(some.tuples(some.sampled_from([SCOPE, OTHER]), batches), max_size=12))
def test_ids_are_known_in_their_scope_once_added_and_not_before(
    added: list[tuple[Scope, list[str]]],
) -> None:
    known, model = KnownIds(b"key"), set[tuple[Scope, str]]()
    for scope, batch in added:
        expected = [(scope, id) in model for id in batch]
        assert known_of(known, *batch, scope=scope) == expected
        add(known, *batch, scope=scope)
        model |= {(scope, id) for id in batch}
        assert all(known_of(known, *batch, scope=scope))
    assert known.sizes()[1] == len({key for key in model if "odd" in key[1]})


@given(some.lists(ids, max_size=40))
def test_ids_added_together_are_those_added_one_by_one(event_ids: list[str]) -> None:
    together, single = KnownIds(b"key"), KnownIds(b"key")
    add(together, *event_ids)
    for id in event_ids:
        add(single, id)
    assert together.sizes() == single.sizes()


def test_a_writers_ids_cost_one_interval_however_many() -> None:
    known = KnownIds(b"key")
    for start in range(0, 10_000, 100):
        add(known, *(event_id(WRITER, number) for number in range(start, start + 100)))
    add(known, "something else")
    assert known.sizes() == (1, 1)
    around = [event_id(WRITER, number) for number in range(9_998, 10_002)]
    assert known_of(known, *around) == [True, True, False, False]


def test_ids_that_only_look_like_ours_are_kept_apart() -> None:
    known = KnownIds(b"key")
    known.add_run(SCOPE, WRITER, 5, 7)
    assert known_of(known, f"{WRITER}-6") == [True]
    near = [f"{WRITER}-06", f"{WRITER.upper()}-6", f"{WRITER}-6 ", WRITER, f"{WRITER}-8"]
    assert not any(known_of(known, *near))


def test_a_sequence_of_too_many_digits_is_foreign_alone_and_beside_its_neighbour() -> None:
    known = KnownIds(b"key")
    pair = [f"{WRITER}-{10**18 - 1}", f"{WRITER}-{10**18}"]
    add(known, *pair)
    assert known.sizes() == (1, 1)
    assert [known_of(known, id) for id in pair] == [[True], [True]]
