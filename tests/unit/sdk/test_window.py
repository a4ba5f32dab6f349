"""Windows with many sessions: what they hold, and what their end costs."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from streamgauge.core.limits import (
    DESCRIPTOR_OWN_BYTES_MAX,
    EVENTS_MADE_AT_ONCE,
    TALLY_PAGE_BYTES,
)
from streamgauge.sdk.held import HeldSession
from streamgauge.sdk.session import LockedStreamSession, StreamSession
from streamgauge.testing import MemorySink, assert_conserved

KINDS = (StreamSession, LockedStreamSession)


def test_an_open_session_with_256_bytes_of_metadata_holds_less_than_a_kibibyte(
    stepped: Callable[..., Any],
) -> None:
    host = stepped(MemorySink())
    host.session("first").add(1)
    count = 20_000
    opened: list[StreamSession] = []
    gc.collect()
    tracemalloc.start()
    try:
        for n in range(count):
            opened.append(host.session(f"customer_{n:06}", title=f"{n:>247}"))
            opened[-1].add(65_536)
        # Pages are byte arrays here, so what is traced includes them.
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (held - TALLY_PAGE_BYTES) / count < 1_024


def test_a_large_descriptor_is_kept_once_for_all_sessions_of_a_window(
    stepped: Callable[..., Any],
) -> None:
    host = stepped(MemorySink())
    large = [host.session(title="x" * DESCRIPTOR_OWN_BYTES_MAX) for _ in range(3)]
    for _ in range(2):
        for session in large:
            session.add(1)
        assert len({id(session.descriptor) for session in large}) == 1
        host.clock.advance(60)
        host.deliver()
    assert [event.bytes for event in host.sink.events] == [3, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_a_window_takes_as_many_steps_for_a_thousand_sessions_as_for_one(
    stepped: Callable[..., Any], kind: Any
) -> None:
    calls = []
    for sessions in (1, 1_000):
        host = stepped(MemorySink())
        opened = [host.session(f"c{n}", kind) for n in range(sessions)]
        for session in opened:
            session.add(1)
        host.clock.advance(60)
        called: list[str] = []
        sys.setprofile(lambda _frame, event, _what, called=called: called.append(event))
        try:
            host.engine.coalescer.end_window()
        finally:
            sys.setprofile(None)
        assert not any(session.is_counting for session in opened)
        calls.append(len(called))
    assert calls[0] == calls[1] > 0


def test_another_thread_gets_a_slot_while_the_events_of_many_groups_are_made(
    stepped: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = stepped(MemorySink())
    groups = 10 * EVENTS_MADE_AT_ONCE
    opened = [host.session(f"c{n}") for n in range(groups)]
    for session in opened:
        session.add(1)
    made: list[int] = []
    append_all = host.engine.spool.append_all
    late = iter(opened)

    def take_turn(_s: float) -> None:
        thread = threading.Thread(target=next(late).add, args=(10,), daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()

    def append(drafts: Any) -> None:
        made.append(len(drafts))
        append_all(drafts)

    monkeypatch.setattr("streamgauge.sdk.coalescer.time.sleep", take_turn)
    monkeypatch.setattr(host.engine.spool, "append_all", append)
    host.clock.advance(60)
    host.engine.tick()
    assert made == [EVENTS_MADE_AT_ONCE] * 10
    assert host.stats().spooled_bytes == groups
    assert host.stats().open_bytes == 10 * 10
    assert_conserved(host.stats())


def test_events_of_a_large_window_are_synced_as_they_are_made(
    stepped: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.sdk.coalescer.EVENTS_UNSYNCED_MAX", EVENTS_MADE_AT_ONCE)
    host = stepped(MemorySink())
    for n in range(3 * EVENTS_MADE_AT_ONCE + 1):
        host.session(f"c{n}").add(1)
    released = []
    release = host.engine.spool.release
    monkeypatch.setattr(
        host.engine.spool, "release", lambda until: (released.append(until), release(until))
    )
    host.clock.advance(60)
    host.engine.tick()
    assert len(set(released)) == 4
    host.deliver()
    assert sum(event.bytes for event in host.sink.events) == 3 * EVENTS_MADE_AT_ONCE + 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_that_pauses_knows_its_total_when_its_page_is_gone(
    stepped: Callable[..., Any], kind: Any
) -> None:
    host = stepped(MemorySink())
    session = host.session("paused", kind)
    session.add(7)
    block = session._block
    assert block is not None
    host.clock.advance(60)
    host.deliver()
    host.engine.tally._next_page()
    host.engine.tally.sweep()
    with pytest.raises(ValueError, match="released"):
        block.page.words[0]
    assert session.total == 7
    session.add(5)
    assert session.total == 12
    host.clock.advance(60)
    host.deliver()
    assert [event.bytes for event in host.sink.events] == [7, 5]
    assert_conserved(host.stats())


def test_a_page_with_one_stream_that_waits_stays_and_the_others_go(
    stepped: Callable[..., Any],
) -> None:
    host = stepped(MemorySink())
    stalled = host.session("stalled", HeldSession)
    stalled.add(100)
    pages = 2
    sessions = []
    while len(host.engine.tally._live) <= pages:
        sessions.append(
            host.session(f"c{len(sessions)}", **dict.fromkeys("abcdefghijklmnop", "x" * 500))
        )
        sessions[-1].add(1)
    host.clock.advance(60)
    for _ in range(2):
        host.engine.tick()
    host.engine.tally._next_page()
    host.engine.tally.sweep()
    (window,) = host.engine.coalescer._closing
    assert len(window.blocks) == 1
    assert len(host.engine.tally._live) == 2
    assert host.stats().open_bytes == 100
    stalled.finish(60)
    host.deliver()
    assert host.engine.coalescer._closing == []
    assert host.sink.bytes_by_customer()["stalled"] == 60
    assert_conserved(host.stats())


def test_a_layer_is_told_also_when_its_slot_is_taken_up_again(stepped: Callable[..., Any]) -> None:
    host = stepped(MemorySink())
    for n in (100, 200):
        main, side = host.session(), host.session()
        side.descriptor = side.group.of_layer("wire").descriptor()
        main.add(n)
        side.add(n + 10)
        main.close()
        side.close()
    (block,) = host.engine.coalescer._open.blocks
    assert block.used == 2
    host.clock.advance(60)
    host.deliver()
    (event,) = host.sink.events
    assert event.metadata == {"bytes": 300, "sg_wire_bytes": 320}
    assert host.stats().counted_bytes == 300
    assert_conserved(host.stats())


def test_a_hang_up_while_events_are_synced_leaves_nothing_behind(
    stepped: Callable[..., Any],
) -> None:
    one = stepped(MemorySink())
    one.engine.tally._page_bytes = 4_096
    left = one.session("ada", kind=HeldSession)
    left.add(1_000)
    left.settle(600)
    others = []
    while len(one.engine.coalescer._open.blocks) < 2:
        others.append(one.session(f"c{len(others)}"))
        others[-1].add(1)
    stays = one.session("bob", kind=HeldSession)
    stays.add(1_000)
    one.clock.advance(60)
    sync = one.engine.spool.sync

    def hang_up() -> Any:
        one.engine.spool.sync = sync
        left.finish(600)
        return sync()

    one.engine.spool.sync = hang_up
    one.deliver()
    for _ in range(3):
        one.clock.advance(60)
        one.deliver()
    stays.finish(1_000)
    one.clock.advance(60)
    one.deliver()
    one.deliver()
    assert one.stats().acknowledged_bytes == 1_600 + len(others)
    assert one.stats().open_bytes == 0
