"""Processes that share a spool directory: one delivers for all, and any may die at any step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from streamgauge.core.limits import ADOPTION_INTERVAL_S

STEPS_MAX = 900


class Workers:
    """Two processes of one machine that live at the same time; one dies at a step, or both."""

    def __init__(self, machine_type: Any, crash_type: Any, crash_at: int, *, both: bool) -> None:
        self.crash_type = crash_type
        self.both = both
        first = machine_type(crash_at)
        first.fuse = first.sink.fuse = self.fuse = type(first.fuse)(crash_at)
        first.root = type(first.root)(self.fuse)
        self.first = first
        self.machines: dict[str, Any] = {}
        for n in range(2):
            machine = machine_type(1_000 + n)
            for shared in ("fuse", "root", "sink", "clock", "counted", "maybe"):
                setattr(machine, shared, getattr(first, shared))
            self.machines[f"w{n}"] = machine

    def each(self, work: Callable[[Any], object]) -> None:
        """Let every process that lives do some work."""
        for name, machine in self.machines.items():
            if name in self.fuse.dead or (self.both and self.fuse.dead):
                continue
            self.fuse.actor = name
            try:
                work(machine)
            except self.crash_type:
                self.first.root.free_locks_of(name)

    def living(self) -> list[Any]:
        return [machine for name, machine in self.machines.items() if name not in self.fuse.dead]


@pytest.fixture
def workers(machine_type: Any, crash_type: Any) -> Callable[..., Workers]:
    def make(crash_at: int = 0, *, both: bool = False) -> Workers:
        return Workers(machine_type, crash_type, crash_at, both=both)

    return make


def count(machine: Any) -> None:
    video = machine.session("ada")
    machine.add(video, 1_000)
    for _ in range(3):
        machine.track("ben", 7)
    machine.tick(cut_open=True)
    machine.add(video, 50)


def step(machine: Any) -> None:
    machine.engine.adopt()
    while machine.engine.deliver() == 0.0:
        pass


def end(machine: Any) -> None:
    machine.engine.stop_counting()
    step(machine)


def close(machine: Any) -> None:
    machine.engine.close()


def story(workers: Workers) -> None:
    """Both count, one delivers; it ends, the other takes over and ends."""
    workers.each(lambda machine: machine.start())
    for _ in range(3):
        workers.each(step)
        workers.each(count)
        workers.first.clock.pass_s(30)
        workers.each(step)
        workers.each(step)
        workers.each(lambda machine: machine.tick())
    workers.first.clock.pass_s(ADOPTION_INTERVAL_S)
    workers.each(end)
    # The follower's last events are delivered by the other, and then it learns of it.
    workers.each(step)
    workers.each(step)
    workers.each(close)


def steps_of(workers: Callable[..., Workers]) -> int:
    told = workers()
    story(told)
    assert told.first.sink.billed() == told.first.counted
    assert told.first.sink.repeats == 0
    assert told.first.root.names() == []
    steps: int = told.fuse.steps
    return steps


def test_two_live_processes_bill_each_byte_once_through_one_of_them(
    workers: Callable[..., Workers],
) -> None:
    assert 200 < steps_of(workers) < STEPS_MAX


def test_the_death_of_either_process_at_any_step_loses_and_doubles_no_byte(
    workers: Callable[..., Workers],
) -> None:
    for crash_at in range(1, steps_of(workers) + 1):
        told = workers(crash_at)
        story(told)
        assert len(told.fuse.dead) == 1
        for machine in told.living():
            assert machine.engine.stats().holds, f"step {crash_at}"
            assert machine.engine.settled(), f"step {crash_at}"
        told.first.clock.pass_s(ADOPTION_INTERVAL_S)
        told.first.drain()
        told.first.check(lost=False)
        assert told.first.root.names() == [], f"step {crash_at} leaves something behind"


def test_a_loss_of_power_with_two_live_processes_doubles_no_byte(
    workers: Callable[..., Workers],
) -> None:
    for crash_at in range(1, steps_of(workers) + 1, 2):
        told = workers(crash_at, both=True)
        story(told)
        told.first.cut_power()
        told.first.drain()
        # What was on disk is not known for two at once; one alone shows that none of it is lost.
        told.first.floor = Counter()
        told.first.check(lost=True)
