from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from streamgauge.sdk.dead_letters import DeadLetters
from streamgauge.sinks.base import (
    AuthError,
    BatchRefusedError,
    BatchTooLargeError,
    Delivered,
    Outgoing,
    Refusal,
    RetryLaterError,
)


class Scripted:
    """A sink that answers as its rule says, and keeps what it was offered."""

    destination = "scripted"

    def __init__(
        self, rule: Callable[[Sequence[Outgoing]], Delivered | None] | None = None
    ) -> None:
        self.rule = rule or (lambda batch: None)
        self.offers: list[list[str]] = []
        self.kept: dict[str, int] = {}

    def deliver(self, batch: Sequence[Outgoing]) -> Delivered:
        self.offers.append([event.event_id for event in batch])
        delivered = self.rule(batch) or Delivered(acknowledged=tuple(self.offers[-1]))
        for event in batch:
            if event.event_id in delivered.acknowledged:
                assert event.event_id not in self.kept
                self.kept[event.event_id] = event.quantity or 0
        return delivered

    def close(self) -> None:
        pass


def fail_first(*failures: Exception) -> Callable[[Sequence[Outgoing]], None]:
    waiting = list(failures)

    def rule(batch: Sequence[Outgoing]) -> None:
        if waiting:
            raise waiting.pop(0)

    return rule


def reasons(host: Any) -> dict[str, str]:
    letters = DeadLetters(host.engine.spool.directory)
    return {letter.event.event_id: letter.reason for letter in letters.read()}


def ids(count: int) -> list[str]:
    return [f"e{n}" for n in range(count)]


def test_ids_of_one_spool_have_no_gaps_and_callers_ids_take_none(stepped: Any) -> None:
    host = stepped(Scripted())
    for event_id in (None, "own", None, None):
        host.track(1, event_id=event_id)
    host.deliver()
    writer = host.engine.spool.identity.writer_id
    assert host.sink.offers == [[f"{writer}-1", "own", f"{writer}-2", f"{writer}-3"]]


def test_a_batch_is_no_larger_than_asked(stepped: Any) -> None:
    host = stepped(Scripted(), batch_events_max=3)
    for _ in range(8):
        host.track(1)
    host.deliver()
    assert [len(offer) for offer in host.sink.offers] == [3, 3, 2]


@pytest.mark.parametrize("failure", [RetryLaterError("503"), OSError("no route"), KeyError("bug")])
def test_a_failure_keeps_everything_and_sends_the_same_ids_again(
    stepped: Any, failure: Exception
) -> None:
    host = stepped(Scripted(fail_first(failure)))
    host.track(10)
    host.track(20)
    assert host.deliver() > 0
    assert host.stats().spooled_bytes == 30
    assert host.stats().last_error is not None
    host.deliver()
    assert host.sink.offers[0] == host.sink.offers[1]
    assert host.stats().acknowledged_bytes == 30
    assert host.stats().holds


def test_the_sink_says_when_to_come_again(stepped: Any) -> None:
    host = stepped(Scripted(fail_first(RetryLaterError("429", retry_after_s=33.0))))
    host.track(1)
    assert host.deliver() == 33.0


def test_a_key_that_is_not_accepted_is_tried_once_a_minute(stepped: Any) -> None:
    host = stepped(Scripted(fail_first(AuthError("401"), AuthError("401"))))
    host.track(1)
    for waited, offers in ((0, 1), (59, 1), (1, 2), (60, 3)):
        host.clock.advance(waited)
        host.deliver()
        assert len(host.sink.offers) == offers
    assert host.stats().acknowledged_bytes == 1


def test_a_batch_that_is_too_large_is_halved_in_order(stepped: Any) -> None:
    def rule(batch: Sequence[Outgoing]) -> None:
        if len(batch) > 2:
            raise BatchTooLargeError("413")

    host = stepped(Scripted(rule))
    for event_id in ids(7):
        host.track(1, event_id=event_id)
    host.deliver()
    assert list(host.sink.kept) == ids(7)
    assert host.stats().acknowledged_events == 7


def test_one_event_that_is_too_large_alone_is_refused_with_the_reason(stepped: Any) -> None:
    def rule(batch: Sequence[Outgoing]) -> None:
        if any(event.event_id == "e1" for event in batch):
            raise BatchTooLargeError("413: too large")

    host = stepped(Scripted(rule))
    for event_id in ids(3):
        host.track(5, event_id=event_id)
    host.deliver()
    assert list(host.sink.kept) == ["e0", "e2"]
    assert reasons(host) == {"e1": "413: too large"}
    assert host.stats().refused_bytes == 5
    assert host.stats().holds


def test_the_events_that_the_sink_names_are_taken_out_and_the_rest_delivered(stepped: Any) -> None:
    bad = {"e1": "no customer", "e5": "too old"}

    def rule(batch: Sequence[Outgoing]) -> None:
        named = [event.event_id for event in batch if event.event_id in bad]
        if named:
            guilty = tuple(
                Refusal(event_id=id, reason=bad.get(id, "?")) for id in [*named, "stranger"]
            )
            raise BatchRefusedError("400", guilty)

    host = stepped(Scripted(rule))
    for event_id in ids(8):
        host.track(1, event_id=event_id)
    host.deliver()
    assert len(host.sink.offers) == 2
    assert len(host.sink.kept) == 6
    assert reasons(host) == bad
    assert host.stats().refused_events == 2


@pytest.mark.parametrize("guilty", [{0}, {7}, {2, 3}, set(range(8))])
def test_unnamed_guilty_events_are_found_by_halving(stepped: Any, guilty: set[int]) -> None:
    bad = {f"e{n}" for n in guilty}

    def rule(batch: Sequence[Outgoing]) -> None:
        if bad & {event.event_id for event in batch}:
            raise BatchRefusedError("422: something is wrong")

    host = stepped(Scripted(rule))
    for event_id in ids(8):
        host.track(1, event_id=event_id)
    host.deliver()
    assert set(host.sink.kept) == set(ids(8)) - bad
    assert set(reasons(host)) == bad
    assert host.stats().refused_bytes == len(bad)
    assert host.stats().holds


def test_what_a_sink_refuses_by_event_is_kept_with_its_reason(stepped: Any) -> None:
    def rule(batch: Sequence[Outgoing]) -> Delivered:
        refusal = Refusal(event_id="e0", reason="closed account")
        return Delivered(acknowledged=("e1",), refused=(refusal,))

    host = stepped(Scripted(rule))
    host.track(3, event_id="e0")
    host.track(4, event_id="e1")
    host.deliver()
    assert reasons(host) == {"e0": "closed account"}
    assert (host.stats().acknowledged_bytes, host.stats().refused_bytes) == (4, 3)


def test_an_event_that_the_sink_forgot_to_answer_for_stays(stepped: Any) -> None:
    host = stepped(Scripted(lambda batch: Delivered(acknowledged=("e0",))))
    host.track(3, event_id="e0")
    host.track(4, event_id="e1")
    host.deliver()
    assert host.stats().spooled_bytes == 7
    assert "nothing of 1 events" in host.stats().last_error


def test_an_id_given_twice_never_stands_twice_in_a_batch(stepped: Any) -> None:
    host = stepped(Scripted())
    host.sink.deliver = lambda batch: (
        host.sink.offers.append([event.event_id for event in batch]),
        Delivered(acknowledged=tuple(event.event_id for event in batch)),
    )[1]
    for event_id in ("a", "b", "a", "c"):
        host.track(1, event_id=event_id)
    host.deliver()
    assert host.sink.offers == [["a", "b"], ["a", "c"]]


def test_settled_parts_of_a_batch_are_not_sent_again_after_a_failure(stepped: Any) -> None:
    answers = iter([BatchTooLargeError("413"), None, RetryLaterError("503"), None])

    def rule(batch: Sequence[Outgoing]) -> None:
        if (answer := next(answers)) is not None:
            raise answer

    host = stepped(Scripted(rule))
    for event_id in ids(4):
        host.track(1, event_id=event_id)
    assert host.deliver() > 0
    host.deliver()
    assert host.sink.offers == [ids(4), ids(4)[:2], ids(4)[2:], ids(4)[2:]]


def test_trouble_is_logged_once_a_minute(stepped: Any, caplog: pytest.LogCaptureFixture) -> None:
    host = stepped(Scripted(fail_first(*(RetryLaterError("503") for _ in range(50)))))
    host.track(1)
    for _ in range(20):
        host.deliver()
        host.clock.advance(4)
    assert len(caplog.records) == 2
    assert "14 more" in caplog.records[1].getMessage()


def test_the_oldest_waiting_event_has_an_age(stepped: Any) -> None:
    host = stepped(Scripted(fail_first(RetryLaterError("503"))))
    assert host.stats().oldest_pending_age_s is None
    host.track(1)
    host.clock.advance(30)
    host.track(1)
    host.deliver()
    assert host.stats().oldest_pending_age_s == 30
    host.deliver()
    assert host.stats().oldest_pending_age_s is None


def test_a_full_spool_refuses_plain_calls_and_holds_back_counts(
    stepped: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = stepped(Scripted(fail_first(*(RetryLaterError("503") for _ in range(9)))))
    host.engine.spool._bytes_max = 1_000
    session = host.session()
    for _ in range(20):
        host.track(10)
        session.add(1)
    host.clock.advance(60)
    host.deliver()
    stats = host.stats()
    assert stats.refused_bytes > 0
    assert stats.open_bytes == 20
    assert stats.holds
    host.engine.spool._bytes_max = 10**9
    for _ in range(9):
        host.deliver()
    assert host.stats().open_bytes == 0
    assert host.stats().holds
