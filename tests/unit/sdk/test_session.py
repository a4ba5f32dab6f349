from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from streamgauge.sdk.session import LockedStreamSession, StreamSession, session_type
from streamgauge.testing import MemorySink


def test_chunks_of_one_window_become_one_event(stepped: Callable[..., Any]) -> None:
    host = stepped(MemorySink())
    with host.session(quality="hd") as session:
        for _ in range(5):
            session.add(100)
        assert session.total == 500
    host.clock.advance(60)
    host.deliver()
    (event,) = host.sink.events
    assert event.bytes == 500
    assert event.metadata == {"quality": "hd", "bytes": 500}
    assert event.customer_id == "ada"


def test_a_windowed_event_carries_the_first_instant_or_the_window_start(
    stepped: Callable[..., Any],
) -> None:
    host = stepped(MemorySink())
    start = host.clock.time_ns()
    host.clock.advance(12)
    session = host.session()
    session.add(1)
    host.clock.advance(60)
    host.engine.tick()
    session.add(2)
    host.clock.advance(60)
    host.deliver()
    seconds = [event.timestamp.timestamp() - start / 1e9 for event in host.sink.events]
    assert seconds == [12, 60]
    assert [event.bytes for event in host.sink.events] == [1, 2]


def test_sessions_one_after_another_share_a_slot_and_an_event(stepped: Callable[..., Any]) -> None:
    host = stepped(MemorySink())
    totals = []
    for n in range(1, 50):
        with host.session() as session:
            session.add(n)
        totals.append(session.total)
    assert totals == list(range(1, 50))
    (block,) = host.engine.coalescer._open.blocks
    assert block.used == 1
    host.clock.advance(60)
    host.deliver()
    assert [event.bytes for event in host.sink.events] == [sum(range(1, 50))]


def test_sessions_at_once_have_slots_of_their_own_and_one_event(
    stepped: Callable[..., Any],
) -> None:
    host = stepped(MemorySink())
    sessions = [host.session() for _ in range(9)]
    for n, session in enumerate(sessions):
        session.add(n)
    assert [session.total for session in sessions] == list(range(9))
    host.clock.advance(60)
    host.deliver()
    assert [event.bytes for event in host.sink.events] == [sum(range(9))]


def test_equal_metadata_in_another_order_is_one_group(stepped: Callable[..., Any]) -> None:
    host = stepped(MemorySink())
    for metadata in ({"a": 1, "b": "x"}, {"b": "x", "a": 1}, {"a": 1.0, "b": "x"}):
        with host.session(**metadata) as session:
            session.add(1)
    with host.session(a="1", b="x") as session:
        session.add(10)
    host.clock.advance(60)
    host.deliver()
    assert sorted(event.bytes for event in host.sink.events) == [3, 10]


def test_bytes_are_kept_when_the_stream_ends_in_an_error(stepped: Callable[..., Any]) -> None:
    host = stepped(MemorySink())

    def stream() -> None:
        with host.session() as session:
            session.add(7)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stream()
    assert host.stats().open_bytes == 7


def test_a_forgotten_session_gives_its_slot_back(stepped: Callable[..., Any]) -> None:
    host = stepped(MemorySink())
    host.session().add(5)
    gc.collect()
    with host.session() as session:
        session.add(6)
    (block,) = host.engine.coalescer._open.blocks
    assert block.used == 1
    assert host.stats().open_bytes == 11


def test_bytes_after_close_still_count_and_closing_twice_is_once(
    stepped: Callable[..., Any],
) -> None:
    host = stepped(MemorySink())
    session = host.session()
    session.add(1)
    session.close()
    session.close()
    session.add(2)
    assert session.total == 3
    session.close()
    assert host.stats().open_bytes == 3


def test_a_slot_is_never_held_by_two_sessions(stepped: Callable[..., Any]) -> None:
    host = stepped(MemorySink())
    first, second = host.session(), host.session()
    first.add(1)
    first.close()
    second.add(2)
    first.add(4)
    assert first.is_counting
    assert second.is_counting
    assert first.at != second.at
    assert (first.total, second.total) == (5, 2)


def test_a_window_end_and_a_clock_set_back_move_a_session_on(stepped: Callable[..., Any]) -> None:
    host = stepped(MemorySink())
    session = host.session()
    for seconds in (60, 3_600, 0):
        session.add(10)
        host.clock.advance(seconds)
        host.deliver()
    from datetime import UTC, datetime  # noqa: PLC0415 - the only test that needs a date.

    host.clock.set(datetime(2025, 6, 1, tzinfo=UTC))
    host.deliver()
    session.add(1)
    assert session.total == 31
    assert sum(event.bytes for event in host.sink.events) == 30
    assert host.stats().holds


@pytest.mark.parametrize("kind", [StreamSession, LockedStreamSession])
def test_threads_lose_no_chunk_while_windows_end(stepped: Callable[..., Any], kind: Any) -> None:
    host = stepped(MemorySink())
    shared = host.session("shared", kind)
    adds, threads_max = 5_000, 4
    begin = threading.Barrier(threads_max + 1)

    def play(n: int) -> None:
        begin.wait()
        own = host.session(f"c{n}", kind)
        for at in range(adds):
            shared.add(3)
            own.add(5)
            if at % 100 == 0:
                own.close()
        own.close()

    threads = [threading.Thread(target=play, args=(n,)) for n in range(threads_max)]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        begin.wait()
        while any(thread.is_alive() for thread in threads):
            host.clock.advance(20)
            host.engine.tick()
            assert host.stats().holds
    finally:
        sys.setswitchinterval(interval_s)
    for thread in threads:
        thread.join()
    assert shared.total == adds * threads_max * 3
    host.engine.stop_counting()
    host.deliver()
    expected = {"shared": adds * threads_max * 3} | {f"c{n}": adds * 5 for n in range(threads_max)}
    assert host.sink.bytes_by_customer() == expected


def test_this_interpreter_gets_the_session_that_is_exact_on_it() -> None:
    has_lock = getattr(sys, "_is_gil_enabled", lambda: True)()
    assert session_type() is (StreamSession if has_lock else LockedStreamSession)
