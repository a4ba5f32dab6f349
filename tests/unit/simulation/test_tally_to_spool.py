from __future__ import annotations

import contextlib
from typing import Any

import pytest

STEPS_MAX = 600


def story(machine: Any) -> None:
    """A few minutes of two customers, through several pages, segments and batches."""
    video, audio = machine.session("ada"), machine.session("ben")
    for minute in range(3):
        for half in range(2):
            machine.add(video, 1_000 + minute)
            machine.add(audio, 10 + half)
            with machine.session("ada") as short:
                machine.add(short, 7)
            machine.track("ada", 100_000)
            machine.track("cy", 3)
            machine.tick(cut_open=half == 1 and minute == 1)
            machine.add(video, 50_000)
            machine.deliver()
        machine.clock.pass_s(60)
        # The deliverer is a thread of its own: it may trim before the pages are synced.
        with contextlib.suppress(OSError):
            machine.engine.coalescer.tick()
        machine.deliver()
        machine.tick()
    machine.add(audio, 900_000)
    machine.engine.stop_counting()
    machine.deliver()
    machine.engine.close()


def run(machine: Any, crash_type: Any, crash_at: int, tell: Any) -> bool:
    try:
        machine.boot(crash_at)
        tell(machine)
    except crash_type:
        return True
    return False


def steps_of(machine_type: Any, tell: Any) -> int:
    machine = machine_type()
    machine.boot()
    tell(machine)
    assert machine.sink.billed() == machine.counted
    assert machine.root.names() == []
    steps: int = machine.fuse.steps
    return steps


def test_the_story_reaches_every_part(machine_type: Any) -> None:
    machine = machine_type()
    machine.boot()
    (spool,) = machine.root.live.values()
    story(machine)
    pages = [name for name in spool.removed if name.endswith(".page")]
    segments = [name for name in spool.removed if name.endswith(".seg")]
    assert len(pages) >= 2
    assert len(segments) >= 3


def test_a_killed_process_loses_and_doubles_no_byte_wherever_it_dies(
    machine_type: Any, crash_type: Any
) -> None:
    steps = steps_of(machine_type, story)
    assert 100 < steps < STEPS_MAX
    for crash_at in range(1, steps + 1):
        machine = machine_type(crash_at)
        assert run(machine, crash_type, crash_at, story)
        machine.kill()
        machine.drain()
        machine.check(lost=False)
        assert machine.root.names() == [], f"step {crash_at} leaves something behind"


@pytest.mark.parametrize("seed", range(4))
def test_a_loss_of_power_doubles_no_byte_and_loses_none_that_was_synced(
    machine_type: Any, crash_type: Any, seed: int
) -> None:
    for crash_at in range(1, steps_of(machine_type, story) + 1):
        machine = machine_type(seed * STEPS_MAX + crash_at)
        assert run(machine, crash_type, crash_at, story)
        machine.cut_power()
        machine.drain()
        machine.check(lost=True)


@pytest.mark.parametrize("power", [False, True])
def test_adoption_that_dies_at_any_step_is_taken_up_by_the_next(
    machine_type: Any, crash_type: Any, power: bool
) -> None:
    steps = steps_of(machine_type, story)
    for crash_at in range(20, steps, 23):
        for second in range(1, STEPS_MAX):
            machine = machine_type(crash_at)
            assert run(machine, crash_type, crash_at, story)
            machine.kill()
            died = run(machine, crash_type, second, type(machine).deliver)
            if power:
                machine.cut_power()
                machine.floor = type(machine.floor)()
            else:
                machine.kill()
            machine.clock.pass_s(60)
            machine.drain()
            machine.check(lost=power)
            if not died:
                break
        else:
            pytest.fail("the adoption never ended")


@pytest.mark.parametrize("refusals", [1, 2, 7])
def test_a_disk_that_refuses_for_a_while_costs_no_byte(machine_type: Any, refusals: int) -> None:
    machine = machine_type()
    machine.boot()
    boot_steps = machine.fuse.steps
    for refused_at in range(boot_steps + 1, steps_of(machine_type, story) + 1):
        machine = machine_type(refused_at)
        machine.boot(refused=range(refused_at, refused_at + refusals))
        story(machine)
        assert machine.engine.stats().holds
        machine.kill()
        machine.drain()
        machine.check(lost=False)


def test_what_was_settled_before_the_checkpoint_is_not_sent_again(machine_type: Any) -> None:
    machine = machine_type()
    machine.boot()
    for _ in range(7):
        machine.track("ada", 5)
    machine.tick()
    machine.deliver()
    machine.kill()
    machine.drain()
    assert machine.sink.repeats == 0
    assert machine.root.names() == []


def test_a_killed_process_never_reuses_an_event_id(machine_type: Any) -> None:
    machine = machine_type()
    for _ in range(4):
        machine.boot()
        machine.track("ada", 5)
        machine.add(machine.session("ben"), 3)
        machine.tick(cut_open=True)
        machine.deliver()
        machine.add(machine.session("ben"), 4)
        machine.kill()
    machine.drain()
    machine.check(lost=False)


@pytest.mark.parametrize("seed", range(8))
def test_events_are_trimmed_only_once_the_pages_know_of_them(machine_type: Any, seed: int) -> None:
    machine = machine_type(seed)
    machine.boot()
    session = machine.session("ada")
    machine.add(session, 1_000)
    machine.tick()
    # From here on the pages are not synced by a tick, as when the deliverer is faster.
    machine.engine.coalescer.tick(cut_open=True)
    for _ in range(9):
        machine.track("ben", 1)
    machine.engine.coalescer.tick()
    machine.deliver()
    assert machine.engine.spool.journal.segments()[0] > 1
    machine.cut_power()
    machine.drain()
    assert machine.sink.billed()["ada"] == 1_000
