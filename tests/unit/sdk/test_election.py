from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from streamgauge.core.disk import OsDirectory
from streamgauge.core.limits import ADOPTION_INTERVAL_S, AUTH_RETRY_S
from streamgauge.core.memory import MemoryDirectory
from streamgauge.sdk.dead_letters import DeadLetters
from streamgauge.sdk.drain import drain_spools
from streamgauge.sdk.election import is_role_file
from streamgauge.sdk.sibling import Sibling
from streamgauge.sinks.base import (
    AuthError,
    BatchRefusedError,
    Delivered,
    Outgoing,
    Refusal,
    RetryLaterError,
)
from streamgauge.testing import ManualClock, assert_conserved


class Far:
    """A server: every process's sink reaches the same one."""

    destination = "far"

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self.offers: list[list[str]] = []
        self.failures: list[Exception] = []
        self.is_closed = False

    def deliver(self, batch: Sequence[Outgoing]) -> Delivered:
        self.offers.append([event.event_id for event in batch])
        assert len(set(self.offers[-1])) == len(batch), "no id twice in a request"
        if self.failures:
            raise self.failures.pop(0)
        for event in batch:
            self.kept.setdefault(event.event_id, event.quantity or 0)
        return Delivered(acknowledged=tuple(self.offers[-1]))

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def root(spool_dir: Path) -> OsDirectory:
    return OsDirectory(spool_dir, create=True)


@pytest.fixture
def workers(stepped: Any, root: OsDirectory) -> Callable[..., list[Any]]:
    def make(count: int, sink: Any, **options: Any) -> list[Any]:
        clock = ManualClock()
        hosts = [stepped(sink, root, clock, **options) for _ in range(count)]
        for host in hosts:
            host.engine.adopt()
        return hosts

    return make


def spools(root: OsDirectory) -> list[str]:
    return [name for name in root.names() if not is_role_file(name)]


def kill(host: Any) -> None:
    host.engine.abandon()


def test_one_of_many_delivers_for_all_in_one_request(stepped: Any) -> None:
    sink, root, clock = Far(), MemoryDirectory(), ManualClock()
    hosts = [stepped(sink, root, clock) for _ in range(64)]
    for n, host in enumerate(hosts):
        host.engine.adopt()
        host.track(n + 1)
        host.engine.tick()
    assert [host.stats().delivers for host in hosts] == [True] + [False] * 63
    for host in hosts[1:]:
        assert host.deliver() is None
    assert sink.offers == []
    hosts[0].engine.adopt()
    hosts[0].deliver()
    assert [len(offer) for offer in sink.offers] == [64]
    for n, host in enumerate(hosts):
        host.deliver()
        stats = host.stats()
        assert (stats.acknowledged_bytes, stats.spooled_bytes) == (n + 1, 0)
        assert host.engine.settled()
        assert_conserved(stats)


def test_a_spool_that_is_delivered_by_another_process_removes_its_own_segments(
    workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.sdk.spool.SPOOL_SEGMENT_BYTES_MAX", 700)
    sink = Far()
    leader, follower = workers(2, sink, batch_events_max=3)
    for n in range(20):
        follower.track(n)
        follower.engine.tick()
    segments = follower.engine.spool.journal.segments()
    leader.engine.adopt()
    leader.deliver()
    assert follower.engine.spool.journal.segments() == segments
    follower.deliver()
    assert follower.engine.spool.journal.segments() == segments[-1:]
    assert list(sink.kept.values()) == list(range(20))


def test_what_is_not_synced_and_released_is_not_delivered_by_another(workers: Any) -> None:
    sink = Far()
    leader, follower = workers(2, sink)
    follower.track(5)
    leader.engine.adopt()
    leader.deliver()
    assert sink.offers == []
    follower.engine.tick()
    leader.deliver()
    assert list(sink.kept.values()) == [5]


def test_when_the_deliverer_dies_another_takes_over_and_adopts_its_spool(
    workers: Any, root: OsDirectory
) -> None:
    sink = Far()
    leader, second, third = workers(3, sink)
    for host in (leader, second, third):
        host.track(10)
        host.engine.tick()
    leader.engine.adopt()
    sink.failures = [RetryLaterError("the answer was lost")]
    assert leader.engine.deliver()
    leader.session().add(7)
    kill(leader)
    second.engine.adopt()
    assert (second.stats().delivers, third.stats().delivers) == (True, False)
    second.deliver()
    third.deliver()
    assert sum(sink.kept.values()) == 37
    assert second.stats().adopted.bytes == 17
    assert third.stats().acknowledged_bytes == 10
    for host in (second, third):
        assert_conserved(host.stats())
        host.engine.stop_counting()
        host.engine.close()
    assert root.names() == []


def test_a_deliverer_that_ends_hands_over_and_its_last_word_is_taken(workers: Any) -> None:
    sink = Far()
    leader, follower = workers(2, sink)
    follower.track(5)
    follower.engine.tick()
    leader.engine.adopt()
    leader.deliver()
    leader.engine.stop_counting()
    leader.engine.close()
    follower.track(6)
    follower.engine.tick()
    follower.engine.adopt()
    follower.deliver()
    assert [len(offer) for offer in sink.offers] == [1, 1]
    assert follower.stats().acknowledged_bytes == 11
    assert_conserved(follower.stats())


def test_refused_events_of_another_process_are_kept_in_its_spool_and_counted_there(
    workers: Any,
) -> None:
    sink = Far()
    leader, follower = workers(2, sink)
    follower.track(5, event_id="bad")
    follower.track(6)
    follower.engine.tick()
    leader.engine.adopt()
    sink.failures = [BatchRefusedError("400", (Refusal(event_id="bad", reason="no such"),))]
    leader.deliver()
    follower.deliver()
    stats = follower.stats()
    assert (stats.refused_bytes, stats.acknowledged_bytes) == (5, 6)
    assert_conserved(stats)
    (letter,) = DeadLetters(follower.engine.spool.directory).read()
    assert letter.reason == "no such"
    assert leader.stats().refused_bytes == 0


def test_an_id_that_two_processes_used_is_in_no_request_twice(workers: Any) -> None:
    sink = Far()
    hosts = workers(2, sink)
    for host in hosts:
        host.track(3, event_id="same")
        host.track(4)
        host.engine.tick()
    hosts[0].engine.adopt()
    hosts[0].deliver()
    hosts[1].deliver()
    assert [len(offer) for offer in sink.offers] == [3, 1] or len(sink.offers) == 2
    assert sorted(sink.kept.values()) == [3, 4, 4]
    assert all(host.engine.settled() for host in hosts)


def test_the_spool_that_is_most_behind_goes_first(workers: Any) -> None:
    sink = Far()
    hosts = workers(2, sink, batch_events_max=2)
    sink.failures = [RetryLaterError("away")] * 2
    for n in range(4):
        for host in hosts:
            host.track(n)
            host.engine.tick()
            host.clock.advance(1)
    hosts[0].engine.adopt()
    for _ in range(2):
        hosts[0].engine.deliver()
    sink.offers.clear()
    hosts[0].deliver()
    assert [sink.kept[offer[0]] for offer in sink.offers] == [0, 0, 2, 2]


def test_a_refused_key_passes_the_role_on_and_is_tried_once_a_minute_in_all(workers: Any) -> None:
    sink = Far()
    hosts = workers(3, sink)
    hosts[1].track(5)
    hosts[1].engine.tick()
    hosts[0].engine.adopt()
    sink.failures = [AuthError("401")] * 3
    tried_at_s: list[int] = []
    for second in range(4 * AUTH_RETRY_S):
        for host in hosts:
            before = len(sink.offers)
            host.engine.adopt()
            host.engine.deliver()
            tried_at_s += [second] * (len(sink.offers) - before)
        hosts[0].clock.advance(1)
    # Three are refused, by whichever process, and then the good one.
    waits = [after - at for at, after in itertools.pairwise(tried_at_s)]
    assert len(tried_at_s) == 4
    assert all(AUTH_RETRY_S <= wait <= AUTH_RETRY_S + 2 for wait in waits)
    assert hosts[1].engine.settled()


def test_a_role_whose_file_was_removed_from_outside_is_given_up_to_who_took_it(
    workers: Any, root: OsDirectory
) -> None:
    sink = Far()
    first, second = workers(2, sink)
    first.engine.adopt()
    root.remove(first.engine.dispatch.election.name)
    second.engine.adopt()
    assert second.engine.dispatch.election.is_ours
    first.track(5)
    first.deliver()
    assert sink.offers == []
    assert not first.stats().delivers
    second.engine.adopt()
    second.deliver()
    assert [*sink.kept.values()] == [5]


def test_who_lost_the_role_unnoticed_leaves_the_file_of_its_successor(
    workers: Any, root: OsDirectory
) -> None:
    first, second, third = workers(3, Far())
    first.engine.adopt()
    root.remove(first.engine.dispatch.election.name)
    second.engine.adopt()
    first.engine.dispatch.resign()
    third.engine.adopt()
    assert second.stats().delivers
    assert not third.stats().delivers


def test_a_forked_process_does_not_inherit_the_role(workers: Any, root: OsDirectory) -> None:
    (leader,) = workers(1, Far())
    copy = leader.engine.dispatch.election
    fresh = workers(1, Far())[0]
    assert not fresh.stats().delivers
    # What a child does with its copy of the lock leaves the file for the parent.
    name = copy.name
    copy.abandon()
    assert name in root.names()
    fresh.engine.adopt()
    assert fresh.stats().delivers


def test_processes_that_end_while_the_deliverer_is_busy_leave_no_trace(
    workers: Any, root: OsDirectory
) -> None:
    sink = Far()
    leader, *others = workers(5, sink)
    for host in others:
        host.track(2)
        host.engine.tick()
    leader.engine.adopt()
    leader.deliver()
    for host in others:
        host.engine.stop_counting()
        host.engine.close()
    assert spools(root) == [leader.engine.spool.name]
    leader.deliver()
    assert leader.engine.dispatch.adopter.siblings == []


def test_a_dead_sibling_is_adopted_with_what_it_had_not_made_an_event(workers: Any) -> None:
    sink = Far()
    leader, follower = workers(2, sink)
    follower.track(5)
    follower.engine.tick()
    leader.engine.adopt()
    leader.deliver()
    follower.session().add(11)
    kill(follower)
    leader.clock.advance(ADOPTION_INTERVAL_S)
    leader.engine.adopt()
    leader.deliver()
    assert sum(sink.kept.values()) == 16
    assert leader.stats().adopted.bytes == 11
    assert_conserved(leader.stats())


def test_draining_beside_a_live_deliverer_is_refused_and_says_which(
    workers: Any, spool_dir: Path
) -> None:
    workers(1, Far())
    with pytest.raises(Exception, match=r"process \d+ delivers"):
        drain_spools(spool_dir, Far(), environment="test_mode", on_progress=lambda _found: None)


def test_a_live_spool_that_cannot_be_read_holds_up_no_other(
    workers: Any, root: OsDirectory, spool_dir: Path
) -> None:
    sink = Far()
    leader, sound = workers(2, sink)
    (broken,) = workers(1, sink)
    for host in (leader, broken, sound):
        host.track(5)
        host.engine.tick()
    (spool_dir / broken.engine.spool.name / "checkpoint").write_bytes(b"{not json")
    for _ in range(3):
        leader.engine.adopt()
        leader.deliver()
        leader.clock.advance(ADOPTION_INTERVAL_S)
    sound.deliver()
    assert sound.engine.settled()
    assert leader.engine.settled()
    assert not broken.engine.settled()
    assert "cannot be delivered from here" in leader.stats().last_error


def test_a_spool_that_cannot_note_its_answers_holds_up_no_other_and_recovers(
    workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Far()
    leader, broken = workers(2, sink, batch_events_max=2)
    for n in range(6):
        broken.track(n)
    broken.engine.tick()
    leader.clock.advance(1)
    for n in range(6):
        leader.track(10 + n)
    settle = Sibling.settle

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Sibling, "settle", refuse)
    leader.engine.adopt()
    for _ in range(2):
        leader.deliver()
    assert leader.engine.settled()
    assert not broken.engine.settled()

    monkeypatch.setattr(Sibling, "settle", settle)
    leader.deliver()
    broken.deliver()
    assert broken.engine.settled()
    assert sum(sink.kept.values()) == sum(range(6)) + sum(range(10, 16))


def test_a_spool_that_was_met_while_it_was_made_is_delivered_soon_after(
    stepped: Any, root: OsDirectory, spool_dir: Path
) -> None:
    sink, clock = Far(), ManualClock()
    holder = stepped(sink, root, clock)
    holder.engine.adopt()
    other = stepped(sink, root, clock)
    mark = spool_dir / other.engine.spool.name / "released"
    aside = mark.rename(spool_dir.parent / "released")
    holder.engine.adopt()
    aside.rename(mark)
    other.track(7)
    other.engine.tick()
    holder.engine.adopt()
    holder.deliver()
    assert sum(sink.kept.values()) == 7
