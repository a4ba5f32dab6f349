from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from streamgauge.core.backoff import Backoff
from streamgauge.core.disk import OsDirectory
from streamgauge.core.ids import event_id
from streamgauge.core.memory import MemoryDirectory
from streamgauge.server.ingest import keeper as keeping
from streamgauge.server.ingest.decode import Scope
from streamgauge.server.ingest.keeper import Keeper

TEST, LIVE = Scope("bus_1", "test_mode"), Scope("bus_1", "live_mode")
OURS = [event_id("c" * 32, number) for number in (1, 2, 3, 7, 8)]
FOREIGN = [f"order {number}" for number in range(40)]


def add(keeper: Keeper, ids: list[str], scope: Scope = TEST) -> None:
    keeper.known.add_missing(keeper.known.keys(scope, ids))


def known(keeper: Keeper, ids: list[str], scope: Scope = TEST) -> list[bool]:
    return keeper.known.known(keeper.known.keys(scope, ids))


def kept(directory: Any) -> None:
    keeper = Keeper(directory)
    add(keeper, [*OURS, *FOREIGN[:20]])
    keeper.save(4)
    add(keeper, FOREIGN[20:], LIVE)
    keeper.save(5)
    keeper.close()


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)


def test_ids_come_back_with_their_scope_and_the_segment_they_cover() -> None:
    directory = MemoryDirectory()
    kept(directory)
    keeper = Keeper(directory)
    assert (keeper.covered, keeper.damage) == (5, [])
    assert keeper.known.sizes() == (2, 40)
    assert sorted(keeper.known.scopes()) == [LIVE, TEST]
    assert all(known(keeper, [*OURS, *FOREIGN[:20]]))
    assert known(keeper, FOREIGN, LIVE) == [False] * 20 + [True] * 20
    assert not any(known(keeper, OURS, LIVE))
    assert known(keeper, [event_id("c" * 32, 4), "order 40"]) == [False, False]


def test_snapshots_and_merges_go_on_beside_lookups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "KNOWN_IDS_RECENT_MAX", 64)
    directory = OsDirectory(tmp_path / "ids", create=True)
    keeper = Keeper(directory)
    keeper.start()
    for segment in range(1, 200):
        ids = [f"{segment} {place}" for place in range(32)]
        earlier = [f"{1 + place * segment // 32} {place}" for place in range(32)]
        assert not any(known(keeper, ids))
        add(keeper, ids)
        assert all(known(keeper, [*ids, *earlier]))
        keeper.settled(segment, 1_000)
    wait_for(lambda: keeper.settled(200, 0) or keeper.covered == 199)
    assert keeper.stop(30)
    keeper.close()
    again = Keeper(directory)
    assert all(
        known(again, [f"{segment} {place}" for segment in range(1, 200) for place in (0, 31)])
    )
    assert len(list((tmp_path / "ids").glob("digests-*"))) < 12
    again.close()


@pytest.mark.parametrize("victim", ["digests-", "runs-", "snapshot"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_what_is_damaged_is_named_read_again_and_then_whole(victim: str, damage: str) -> None:
    directory = MemoryDirectory()
    kept(directory)
    name = next(each for each in directory.names() if each.startswith(victim))
    if damage == "flipped":
        directory.files[name].data[-1] ^= 1
    elif damage == "cut":
        directory.replace(name, bytes(directory.files[name].data[:-1]))
    else:
        directory.remove(name)
    keeper = Keeper(directory)
    assert keeper.covered == 0, "so everything is added again"
    assert victim == "snapshot" or name in " ".join(keeper.damage)
    assert bool(keeper.damage) == ((victim, damage) != ("snapshot", "gone"))
    if damage != "gone":
        still = known(keeper, FOREIGN[:20]) + known(keeper, FOREIGN[20:], LIVE)
        assert sum(still) >= 39
    add(keeper, [*OURS, *FOREIGN[:20]])
    add(keeper, FOREIGN[20:], LIVE)
    keeper.save(5)
    again = Keeper(directory)
    assert (again.covered, again.damage) == (5, [])
    assert all(known(again, [*OURS, *FOREIGN[:20]]) + known(again, FOREIGN[20:], LIVE))


def test_a_lost_key_is_named_and_everything_is_read_again() -> None:
    directory = MemoryDirectory()
    kept(directory)
    directory.remove("key")
    keeper = Keeper(directory)
    assert keeper.covered == 0
    assert keeper.damage[0].startswith("key is lost, and with it what digests-")
    assert all(known(keeper, OURS))
    add(keeper, FOREIGN)
    keeper.save(5)
    assert all(known(Keeper(directory), FOREIGN))


def test_a_full_disk_delays_a_snapshot_and_shows(
    directory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "KNOWN_IDS_RECENT_MAX", 1)
    keeper = Keeper(directory, backoff=Backoff(0.001, 0.001))
    keeper.start()
    directory.disk.writes_fail = True
    add(keeper, FOREIGN)
    keeper.settled(9, 1_000)
    wait_for(lambda: keeper.trouble)
    assert "no space left on device" in str(keeper.trouble)
    assert keeper.covered == 0
    assert all(known(keeper, FOREIGN))
    directory.disk.writes_fail = False
    wait_for(lambda: keeper.covered == 8)
    wait_for(lambda: keeper.trouble is None)
    assert keeper.stop(30)
    assert all(known(Keeper(directory), FOREIGN))


def test_a_quiet_log_is_covered_by_its_segments_and_a_busy_one_by_its_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for newest, size in (
        (keeping.UNCOVERED_SEGMENTS_MAX + 1, 10),
        (3, keeping.UNCOVERED_BYTES_MAX),
    ):
        keeper = Keeper(MemoryDirectory())
        keeper.start()
        keeper.settled(2, 10)
        keeper.settled(newest, size)
        wait_for(lambda keeper=keeper, newest=newest: keeper.covered == newest - 1)
        assert keeper.stop(30)
