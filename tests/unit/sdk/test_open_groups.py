from __future__ import annotations

from typing import Any

import pytest

from streamgauge.testing import MemorySink, assert_conserved


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("streamgauge.sdk.coalescer.OPEN_GROUPS_MAX", 10)
    return 10


def test_too_many_groups_end_the_oldest_windows_early_and_lose_no_byte(
    stepped: Any, few: int
) -> None:
    host = stepped(MemorySink())
    sessions = [host.session(f"c{n}") for n in range(3 * few)]
    for session in sessions:
        session.add(1)
        assert len(host.engine.coalescer._open.groups) <= few
    for session in sessions:
        session.add(10)
    for _ in range(3):
        host.engine.tick()
    assert len(host.engine.coalescer._closing) == 0
    host.clock.advance(60)
    host.deliver()
    assert host.sink.bytes_by_customer() == {f"c{n}": 11 for n in range(3 * few)}
    assert "careless metadata key" in host.stats().last_error
    assert_conserved(host.stats())


def test_as_many_groups_as_the_bound_keep_their_windows(stepped: Any, few: int) -> None:
    host = stepped(MemorySink())
    sessions = [host.session(f"c{n}") for n in range(few)]
    for session in sessions:
        session.add(1)
        session.add(2)
    host.engine.tick()
    assert host.stats().open_bytes == 3 * few
    assert host.stats().last_error is None
