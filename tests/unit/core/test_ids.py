from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.core.ids import event_id, new_id, new_writer_id, split_event_id

TIMES_NS = st.integers(min_value=0, max_value=2**48 * 1_000_000 - 1)


@given(st.binary(min_size=16, max_size=16), st.integers(min_value=0, max_value=10**18 - 1))
def test_an_event_id_splits_into_what_it_was_made_of(seed: bytes, sequence: int) -> None:
    writer = new_writer_id(lambda _: seed)
    assert split_event_id(event_id(writer, sequence)) == (writer, sequence)


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        "stream_consumption_1795450376446_8z2ioy",
        "0" * 32,
        "0" * 32 + "-",
        "0" * 32 + "-01",
        "0" * 32 + "--1",
        "A" * 32 + "-1",
        "0" * 31 + "-1",
        "0" * 32 + "-1\n",
        "0" * 32 + "-" + "9" * 19,
        "0" * 32 + "-\u0663",
    ],
)
def test_an_id_of_another_form_is_foreign(foreign: str) -> None:
    assert split_event_id(foreign) is None


@given(TIMES_NS, TIMES_NS, st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_ids_sort_by_the_millisecond_they_were_made_in(
    first_ns: int, second_ns: int, first_seed: bytes, second_seed: bytes
) -> None:
    first = new_id("mtr", time_ns=lambda: first_ns, entropy=lambda _: first_seed)
    second = new_id("mtr", time_ns=lambda: second_ns, entropy=lambda _: second_seed)
    assert len(first) == len(second) == len("mtr_") + 26
    key = (first_ns // 1_000_000, first_seed)
    assert (first < second) == (key < (second_ns // 1_000_000, second_seed))


def test_new_ids_of_one_millisecond_do_not_collide() -> None:
    assert len({new_id("evt", time_ns=lambda: 0) for _ in range(1000)}) == 1000
