"""Hours without the other side, towards a server with Dodo Payments' documented rules."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest

from streamgauge.core.clock import utc
from streamgauge.core.limits import LATE_S_MAX
from streamgauge.core.memory import MemoryDirectory
from streamgauge.sdk.dead_letters import DeadLetters
from streamgauge.sinks.dodo import DodoSink
from streamgauge.testing import ManualClock, assert_conserved

START = datetime(2026, 3, 10, 22, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Dodo:
    """Refuses what is older than an hour, limits rates, and forgets ids after an hour.

    The last is worse than anything documented: whoever sends an old event again is billed twice.
    """

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.ahead = timedelta()
        self.billed: list[dict[str, Any]] = []
        self.seen: dict[str, datetime] = {}
        self.asked: list[str] = []
        self.statuses: list[int] = []
        self.times: deque[datetime] = deque()
        self.is_away = False
        self.loses_answers = False
        handler = type("DodoHandler", (DodoHandler,), {"dodo": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()

    def now(self) -> datetime:
        return utc(self.clock.time_ns()) + self.ahead

    def left(self) -> tuple[int, int]:
        """Take one of 40 requests a second and 240 a minute; return what is left, and when more."""
        now = self.now()
        while self.times and now - self.times[0] >= timedelta(minutes=1):
            self.times.popleft()
        recent = sum(now - at < timedelta(seconds=1) for at in self.times)
        left = min(240 - len(self.times), 40 - recent) - 1
        if left >= 0:
            self.times.append(now)
        wait_s = 1 if recent >= 39 else 60
        return left, wait_s

    def ingest(self, events: list[dict[str, Any]]) -> int:
        ids = [event["event_id"] for event in events]
        now = self.now()
        stamps = [datetime.fromisoformat(event["timestamp"]) for event in events]
        in_time = all(now - HOUR <= at <= now + timedelta(minutes=5) for at in stamps)
        if not 1 <= len(events) <= 1_000 or len(set(ids)) < len(ids) or not in_time:
            return 400
        for event in events:
            seen = self.seen.get(event["event_id"])
            if seen is None or now - seen > HOUR:
                self.billed.append(event)
            self.seen[event["event_id"]] = now
        return 200

    def total_bytes(self) -> int:
        return sum(event["metadata"]["bytes"] for event in self.billed)


class DodoHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    dodo: Dodo

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(self.dodo.now(), usegmt=True)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.dodo.is_away:
            self.close_connection = True
            return
        left, wait_s = self.dodo.left()
        status = 429 if left < 0 else self.dodo.ingest(json.loads(body)["events"])
        if self.dodo.loses_answers:
            self.close_connection = True
            return
        self.answer(status, {"ingested_count": 0, "code": "X"}, left, wait_s)

    def do_GET(self) -> None:
        if self.dodo.is_away:
            self.close_connection = True
            return
        left, wait_s = self.dodo.left()
        id = unquote(self.path.removeprefix("/events/"))
        found = [event for event in self.dodo.billed if event["event_id"] == id]
        status = 429 if left < 0 else 200 if found else 404
        if status != 429:
            self.dodo.asked.append(id)
        self.answer(status, found[0] if status == 200 else {"code": "X"}, left, wait_s)

    def answer(self, status: int, body: object, left: int, wait_s: int) -> None:
        self.dodo.statuses.append(status)
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("x-ratelimit-remaining", str(max(left, 0)))
        self.send_header("x-ratelimit-reset", str(wait_s))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def dodo(clock: ManualClock) -> Iterator[Dodo]:
    dodo = Dodo(clock)
    yield dodo
    dodo.close()


Make = Callable[..., Any]


@pytest.fixture
def process(stepped: Any, dodo: Dodo, clock: ManualClock) -> Iterator[Make]:
    root, sinks = MemoryDirectory(), list[DodoSink]()

    def make(late: str | None = "restamp", **options: Any) -> Any:
        sink = DodoSink(
            environment="test_mode", api_key="k", base_url=dodo.url, late=late, clock=clock
        )
        sinks.append(sink)
        return stepped(sink, root, clock, **options)

    yield make
    for sink in sinks:
        sink.close()


class Usage:
    """Customers who stream, a known number of bytes each minute, in several processes."""

    def __init__(self, hosts: list[Any]) -> None:
        self.hosts = hosts
        self.sessions = [host.session(f"c{n}") for host in hosts for n in range(4)]
        self.bytes = 0

    def minute(self) -> None:
        for n, session in enumerate(self.sessions):
            session.add(1_000 + n)
            self.bytes += 1_000 + n
        self.hosts[0].clock.advance(60)
        for host in self.hosts:
            host.engine.tick()
            host.engine.adopt()
            host.engine.deliver()

    def settle(self, minutes_max: int = 30) -> int:
        """Deliver what waits as the threads would; return the seconds it took."""
        clock = self.hosts[0].clock
        for host in self.hosts:
            host.engine.tick(cut_open=True)
        began_ns = clock.monotonic_ns()
        while not all(host.engine.settled() for host in self.hosts):
            waits = [host.engine.deliver() for host in self.hosts]
            clock.advance(max((wait for wait in waits if wait), default=0.05))
            assert clock.monotonic_ns() - began_ns < minutes_max * 60 * 10**9
        return (clock.monotonic_ns() - began_ns) // 10**9


@pytest.mark.parametrize("lost_answer", [False, True])
def test_after_three_hours_without_the_other_side_every_byte_is_billed_once(
    process: Make, dodo: Dodo, lost_answer: bool
) -> None:
    hosts = [process(batch_events_max=100) for _ in range(2)]
    usage = Usage(hosts)
    for _ in range(5):
        usage.minute()
    if lost_answer:
        dodo.loses_answers = True
        usage.minute()
        assert dodo.total_bytes() > sum(host.stats().acknowledged_bytes for host in hosts)
        dodo.loses_answers = False
    dodo.is_away = True
    for _ in range(180):
        usage.minute()
    assert max(host.stats().oldest_pending_age_s for host in hosts) > 10_000
    dodo.is_away = False
    usage.settle()

    assert dodo.total_bytes() == usage.bytes
    assert len({event["event_id"] for event in dodo.billed}) == len(dodo.billed)
    assert dodo.asked
    assert 400 not in dodo.statuses
    assert 429 not in dodo.statuses
    late = [event for event in dodo.billed if "sg_measured_at" in event["metadata"]]
    restamped = sum(event["metadata"]["bytes"] for event in late)
    crossed = sum(
        event["metadata"]["bytes"]
        for event in late
        if event["metadata"]["sg_measured_at"][:10] != event["timestamp"][:10]
    )
    stats = [host.stats() for host in hosts]
    assert restamped == sum(each.restamped_bytes for each in stats) > 0
    assert crossed == sum(each.crossed_bytes for each in stats) > 0
    for each in stats:
        assert_conserved(each)
    for host in hosts:
        writer = host.engine.spool.name
        ids = [event["event_id"] for event in dodo.billed if event["event_id"].startswith(writer)]
        assert ids == [f"{writer}-{n + 1}" for n in range(len(ids))], "they came in order"


def test_the_spool_keeps_what_was_measured(process: Make, dodo: Dodo, clock: ManualClock) -> None:
    host = process()
    host.track(5)
    host.engine.tick()
    spooled = host.engine.spool.batch(1)[0].body
    clock.advance(3 * 3_600)
    host.engine.adopt()
    host.deliver()
    (event,) = dodo.billed
    assert json.loads(spooled)["timestamp"] == "2026-03-10T22:00:00Z"
    assert event["metadata"] == {"bytes": 5, "sg_measured_at": "2026-03-10T22:00:00Z"}
    assert event["timestamp"] == "2026-03-11T00:10:00Z"
    assert host.stats().crossed_bytes == 5


def test_what_comes_late_is_held_aside_if_asked_and_holds_up_nothing(
    process: Make, dodo: Dodo, clock: ManualClock
) -> None:
    host = process("hold")
    host.track(5, event_id="old")
    clock.advance(2 * 3_600)
    host.track(6)
    host.engine.adopt()
    host.deliver()
    assert dodo.total_bytes() == 6
    stats = host.stats()
    assert (stats.held_bytes, stats.refused_bytes, stats.acknowledged_bytes) == (5, 5, 6)
    (letter,) = DeadLetters(host.engine.spool.directory, "held").read()
    assert letter.reason.startswith("held: measured at 2026-03-10T22:00:00Z")
    assert_conserved(stats)


def test_what_may_have_arrived_is_asked_for_before_it_is_held(
    process: Make, dodo: Dodo, clock: ManualClock
) -> None:
    host = process("hold")
    host.track(5, event_id="arrived")
    clock.advance(LATE_S_MAX - 100)
    dodo.loses_answers = True
    host.engine.adopt()
    host.deliver()
    assert dodo.total_bytes() == 5
    dodo.loses_answers = False
    host.track(6, event_id="new")
    clock.advance(200)
    host.deliver()
    assert dodo.asked == ["arrived"]
    assert dodo.total_bytes() == 11
    stats = host.stats()
    assert (stats.held_bytes, stats.refused_bytes, stats.acknowledged_bytes) == (0, 0, 11)
    assert_conserved(stats)


def test_towards_other_servers_timestamps_are_left_alone(
    process: Make, dodo: Dodo, clock: ManualClock
) -> None:
    host = process(None)
    host.track(5)
    clock.advance(7_200)
    host.engine.adopt()
    host.deliver()
    assert dodo.statuses == [400]
    assert host.stats().refused_bytes == 5


@pytest.mark.parametrize("ahead", [timedelta(hours=2), -timedelta(hours=2)])
def test_a_host_whose_clock_is_wrong_loses_no_event_for_it(
    process: Make, dodo: Dodo, ahead: timedelta
) -> None:
    dodo.ahead = ahead
    host = process()
    for _ in range(3):
        host.track(5)
    host.engine.adopt()
    host.deliver()
    host.track(6)
    host.deliver()
    assert dodo.total_bytes() == 21
    assert dodo.statuses == [400, 200, 200]
    assert host.stats().refused_bytes == 0


def test_a_limit_that_is_used_up_is_waited_for_before_it_is_hit(
    process: Make, dodo: Dodo, clock: ManualClock
) -> None:
    host = process(batch_events_max=1)
    for _ in range(300):
        host.track(1)
    host.engine.adopt()
    seconds = Usage([host]).settle()
    assert dodo.total_bytes() == 300
    assert set(dodo.statuses) == {200}
    assert 60 <= seconds < 130


def test_a_process_that_died_before_the_answer_leaves_its_doubt_to_the_next(
    process: Make, dodo: Dodo, clock: ManualClock
) -> None:
    dead = process()
    dead.track(5)
    dodo.loses_answers = True
    dead.engine.adopt()
    dead.deliver()
    dead.engine.abandon()
    assert dodo.total_bytes() == 5
    dodo.loses_answers = False
    clock.advance(2 * 3_600)
    heir = process()
    heir.track(6)
    heir.engine.adopt()
    heir.deliver()
    assert len(dodo.asked) == 1
    assert dodo.total_bytes() == 11
    assert heir.stats().adopted.acknowledged_bytes == 5
    heir.engine.adopt()
    clock.advance(60)
    heir.engine.adopt()
    assert not any(name.startswith("attempts") for name in heir.root.names())


def test_a_refused_connection_leaves_no_doubt(
    process: Make, dodo: Dodo, clock: ManualClock
) -> None:
    host = process()
    host.track(5)
    dodo.server.socket.close()
    host.engine.adopt()
    assert host.deliver()
    (event,) = host.engine.spool.batch(1)
    assert host.engine.dispatch._attempts.since(host.engine.spool.name, event.number) is None
