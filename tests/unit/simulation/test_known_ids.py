"""Known ids, while the process or the power goes at every step: none that is covered is lost."""

from __future__ import annotations

import random
from typing import Any

import pytest

from streamgauge.core.ids import event_id
from streamgauge.server.ingest import keeper as keeping
from streamgauge.server.ingest.decode import Scope
from streamgauge.server.ingest.keeper import Keeper

SCOPE = Scope("bus_1", "test_mode")
SEGMENTS = 12


def ids_of(segment: int) -> list[str]:
    """Return ids as a segment brings them: some of two spools, with gaps, and some foreign."""
    own = [event_id("ab"[segment % 2] * 32, segment * 3 + place) for place in (0, 1)]
    return [*own, *(f"foreign {segment} {place}" for place in range(5))]


def flags(keeper: Keeper, segment: int) -> list[bool]:
    known = keeper.known
    return known.known(known.keys(SCOPE, ids_of(segment)))


def live(directory: Any, crash: type[BaseException]) -> int:
    """Take segment after segment until the end or the crash; return the last one saved."""
    saved = 0
    try:
        keeper = Keeper(directory)
        saved = keeper.covered
        for segment in range(saved + 1, SEGMENTS + 1):
            keeper.known.add_missing(keeper.known.keys(SCOPE, ids_of(segment)))
            keeper.save(segment)
            saved = segment
    except crash:
        pass
    return saved


def check(directory: Any, saved: int) -> None:
    keeper = Keeper(directory)
    assert keeper.damage == []
    assert saved <= keeper.covered <= saved + 1
    for segment in range(1, keeper.covered + 1):
        assert all(flags(keeper, segment)), segment
    for segment in range(keeper.covered + 1, SEGMENTS + 1):
        assert not any(flags(keeper, segment)), segment


@pytest.mark.parametrize("power", [False, True])
def test_a_crash_at_any_step_loses_no_covered_id(
    fuse_type: Any, directory_type: Any, crash_type: type[BaseException], power: bool
) -> None:
    whole = fuse_type()
    assert live(directory_type(whole), crash_type) == SEGMENTS
    assert whole.steps > 100
    chance = random.Random(1)
    for step in range(1, whole.steps + 1):
        directory = directory_type(fuse_type(step))
        saved = live(directory, crash_type)
        reborn = (
            directory.after_power_loss(fuse_type(), chance)
            if power
            else directory.after_process_death(fuse_type())
        )
        check(reborn, saved)
        assert live(reborn, crash_type) == SEGMENTS
        check(reborn, SEGMENTS)


def test_a_disk_that_refuses_at_any_step_delays_a_snapshot_and_loses_nothing(
    fuse_type: Any, directory_type: Any, crash_type: type[BaseException]
) -> None:
    made = directory_type(fuse_type())
    live(made, crash_type)
    steps = made.fuse.steps
    for step in range(5, steps):
        directory = directory_type(fuse_type(None, range(step, step + 2)))
        try:
            keeper = Keeper(directory)
        except OSError:
            continue
        for segment in range(1, SEGMENTS + 1):
            keeper.known.add(keeper.known.keys(SCOPE, ids_of(segment)))
            keeper.save(segment)
        keeper.save(SEGMENTS)
        keeper.save(SEGMENTS)
        check(directory, SEGMENTS)


def test_there_are_few_files_however_often_it_is_saved(
    fuse_type: Any, directory_type: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "KNOWN_IDS_RECENT_MAX", 1)
    directory = directory_type(fuse_type())
    keeper = Keeper(directory)
    for segment in range(1, 201):
        keeper.known.add(keeper.known.keys(SCOPE, ids_of(segment)))
        keeper.save(segment)
    assert len([name for name in directory.names() if name.startswith("digests")]) <= 10
    assert len([name for name in directory.names() if name.startswith("runs")]) == 1
