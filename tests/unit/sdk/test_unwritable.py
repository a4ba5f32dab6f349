"""A spool that takes no events for hours, and clocks that jump."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamgauge.core.memory import MemoryDirectory
from streamgauge.sdk.records import Draft
from streamgauge.testing import ManualClock, MemorySink, assert_conserved

START = datetime(2026, 3, 10, 22, 0, tzinfo=UTC)


class Disk:
    """Takes nothing while it is full: no record, no page, no file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, host: Any) -> None:
        self.is_full = False
        journal, directory = host.engine.spool.journal, host.engine.spool.directory
        for owner, name in ((journal, "append_all"), (journal, "sync"), (directory, "map")):
            monkeypatch.setattr(owner, name, self.refusing(getattr(owner, name)))

    def refusing(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(*args: Any, **options: Any) -> Any:
            if self.is_full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return step(*args, **options)

        return refuse


@pytest.fixture
def host(stepped: Any) -> Any:
    return stepped(MemorySink(), MemoryDirectory(), ManualClock(START))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, host: Any) -> Disk:
    return Disk(monkeypatch, host)


def track(host: Any, n: int) -> None:
    draft = Draft(group=host.group(), timestamp_ns=host.clock.time_ns(), quantity=n)
    host.engine.accept(draft, mergeable=True)


def test_while_the_spool_takes_no_events_counting_goes_on_in_the_tally_and_windows_widen(
    host: Any, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = [host.session(f"c{n}") for n in range(3)]
    plain = 0
    for session in sessions:
        session.add(1)
    host.engine.tick()
    disk.is_full = True
    with caplog.at_level(logging.WARNING, "streamgauge"):
        for minute in range(90):
            for session in sessions:
                session.add(1_000)
            track(host, 7)
            plain += 7
            host.clock.advance(60)
            host.engine.tick()
            stats = host.stats()
            assert stats.open_bytes == 3 * (1 + 1_000 * (minute + 1)) + plain
            assert_conserved(stats)
    assert len(caplog.records) <= 91, "at most one line a minute"
    assert "No space left" in host.stats().last_error
    # Not one slot a minute: those of the first window, of the wide one, and none after it.
    slots = sum(page.used for page in host.engine.tally._live)
    assert slots <= 8
    assert host.engine.spool.unwritten_bytes is None
    disk.is_full = False
    host.engine.tick()
    host.clock.advance(60)
    host.deliver()
    host.deliver()
    assert host.stats().refused_bytes == 0
    assert host.sink.total_bytes() == 3 * 90_001 + plain
    assert_conserved(host.stats())
    # Midnight passed at half past: no byte of the next day is billed to the one before.
    by_day = dict.fromkeys((10, 11), 0)
    for event in host.sink.events:
        by_day[event.timestamp.day] += event.bytes
    assert by_day[10] >= 3 * 1_000
    assert sum(by_day.values()) == 3 * 90_001 + plain


def test_wide_windows_end_with_the_utc_day(host: Any, disk: Disk) -> None:
    disk.is_full = True
    host.engine.tick()
    session = host.session()
    session.add(1)
    assert not host.engine.tick()
    for _ in range(4):
        host.clock.advance(3_600)
        host.engine.tick()
        session.add(100)
    disk.is_full = False
    host.engine.tick()
    host.clock.advance(60)
    host.deliver()
    by_day: dict[int, int] = {}
    for event in host.sink.events:
        by_day[event.timestamp.day] = by_day.get(event.timestamp.day, 0) + event.bytes
    assert by_day == {10: 101, 11: 300}


def test_a_call_with_its_own_id_waits_in_memory_and_is_refused_beyond_a_limit(
    host: Any, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.sdk.spool.SPOOL_BACKLOG_EVENTS_MAX", 2)
    disk.is_full = True
    for n in range(5):
        host.track(10, event_id=f"own-{n}")
    stats = host.stats()
    assert (stats.spooled_bytes, stats.refused_bytes) == (20, 30)
    assert stats.turned_away == {"the spool is full": 30}
    assert_conserved(stats)
    disk.is_full = False
    host.deliver()
    assert host.sink.total_bytes() == 20


def test_new_slots_beyond_the_limit_are_refused_and_counted_and_old_ones_go_on(
    host: Any, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.sdk.tally.TALLY_MEMORY_PAGES_MAX", 1)
    monkeypatch.setattr(host.engine.tally, "_page_bytes", 512)
    old = host.session("old")
    old.add(1)
    disk.is_full = True
    sessions = [host.session(f"c{n}") for n in range(40)]
    for session in sessions:
        session.add(10)
        session.add(1)
        old.add(5)
    stats = host.stats()
    assert stats.turned_away["no room for another group"] > 0
    assert stats.counted_bytes == 201 + 40 * 11
    assert old.total == 201
    assert all(session.total == 11 for session in sessions)
    assert_conserved(stats)
    disk.is_full = False
    host.engine.tick()
    for session in sessions:
        session.add(2)
    host.clock.advance(60)
    host.deliver()
    host.deliver()
    assert host.sink.total_bytes() == 201 + 40 * 13 - stats.refused_bytes


@pytest.mark.parametrize(
    "jump", [timedelta(days=400), timedelta(hours=1), -timedelta(hours=1), -timedelta(days=400)]
)
def test_a_clock_that_jumps_neither_loses_nor_doubles_a_window(host: Any, jump: timedelta) -> None:
    session = host.session()
    counted = 0
    for step in range(12):
        session.add(100)
        track(host, 1)
        counted += 101
        if step in {4, 8}:
            # There, and back again.
            now = START + timedelta(seconds=30 * step)
            host.clock.set(now + jump if step == 4 else now)
        host.clock.advance(30)
        host.engine.tick()
        host.engine.adopt()
        host.engine.deliver()
        assert host.stats().counted_bytes == counted
        assert (host.stats().oldest_pending_age_s or 0) >= 0
        assert_conserved(host.stats())
    host.clock.advance(60)
    host.deliver()
    host.deliver()
    assert host.sink.total_bytes() == counted
    assert host.engine.settled()
    stamps = {event.timestamp.date() for event in host.sink.events}
    assert stamps <= {START.date(), (START + jump).date()}
