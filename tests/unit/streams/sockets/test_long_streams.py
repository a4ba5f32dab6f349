"""Connections that live long, or longer than their process."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from streamgauge import Ingestion
from streamgauge.sockets import FollowedStream, SocketMeter
from streamgauge.streams.kernel.netlink import Destroyed
from streamgauge.streams.layers import How, Measured, Reading
from streamgauge.streams.sockets.poll import Poll
from streamgauge.testing import ManualClock, MemorySink
from tests.unit.streams.sockets.peers import Meters, Pair, last, receive, until


def test_a_long_stream_is_billed_window_by_window_without_being_counted(
    pair: Pair, meters: Meters, billed: Callable[[], Any], measured: list[Measured]
) -> None:
    client, server = pair
    meter = meters(layer="tls")
    meter.follow(server, customer_id="ann")
    for sent in (1_000, 20_000, 300_000):
        server.sendall(b"x" * sent)
        receive(client, sent)
    until(lambda: (meter.poll(), billed() == {"ann": 321_000})[1])
    assert measured == []
    server.sendall(b"last")
    server.close()
    assert receive(client) == 4
    client.close()
    one = last(measured)
    assert billed() == {"ann": 321_004}
    assert one.payload.bytes == one.tls.bytes == 321_004
    meter.poll()
    assert meter.count == 0


def test_an_end_that_is_not_announced_is_noticed(
    pair: Pair, meters: Meters, measured: list[Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("streamgauge.streams.kernel.watch.Listener", none)
    client, server = pair
    meter = meters()
    meter.follow(server, customer_id="ann")
    server.sendall(b"12345")
    receive(client, 5)
    until(lambda: (meter.poll(), meter._metering.attribution is not None)[1])
    server.close()
    client.close()
    until(lambda: (meter.poll(), measured)[1])
    assert measured[0].payload.bytes == 5
    assert measured[0].tls.how == How.ESTIMATED


def test_what_is_followed_no_longer_is_billed_and_goes_on(
    pair: Pair, meters: Meters, billed: Callable[[], Any]
) -> None:
    client, server = pair
    with meters(direction="ingress").follow(server, customer_id="ann"):
        client.sendall(b"12345")
        assert receive(server, 5) == 5
    client.sendall(b"678")
    assert receive(server, 3) == 3
    assert billed() == {"ann": 5}


@pytest.mark.parametrize("window_s", [60, 300, 900])
def test_a_stream_over_the_end_of_a_month_is_billed_in_each_of_its_windows(
    pair: Pair, tmp_path: Path, window_s: int
) -> None:
    client, server = pair
    start = datetime(2026, 1, 31, 22, 57, 3, tzinfo=UTC)
    clock, sink = ManualClock(start), MemorySink()
    ingestion = Ingestion(
        environment="test_mode",
        event_name="e",
        sink=sink,
        spool_dir=tmp_path / "spool",
        window_s=window_s,
        clock=clock,
    )
    meter = SocketMeter(ingestion, layer="tls", clock=clock)
    stream = meter.follow(server, customer_id="ann")
    expected: Counter[datetime] = Counter()
    sent = 0
    for minute in range(130):
        size = minute % 7 * 100
        server.sendall(b"x" * size)
        receive(client, size)
        sent += size
        _poll_until(meter, stream, sent)
        expected[_window(start + timedelta(minutes=minute), window_s)] += size
        clock.advance(60)
        assert ingestion.flush()
    meter.close()
    assert ingestion.close()
    billed: Counter[datetime] = Counter()
    for event in sink.events:
        billed[_window(event.timestamp, window_s)] += int(event.metadata["bytes"])
    assert billed == +expected
    assert min(billed).month == 1
    assert max(billed).month == 2


def test_a_look_comes_a_moment_before_each_minute_ends() -> None:
    clock = ManualClock(datetime(2026, 1, 1, 23, 59, 48, tzinfo=UTC))
    poll = Poll(lambda: None, 10, clock)
    pauses = []
    for _ in range(3):
        pauses.append(poll.pause_s())
        clock.advance(pauses[-1])
    assert pauses == pytest.approx([1.9, 10, 10])


@pytest.mark.parametrize("layer", ["payload", "tls"])
def test_a_forked_process_bills_no_byte_of_its_parent(
    pair: Pair,
    meters: Meters,
    billed: Callable[[], Any],
    layer: str,
    streamgauge_ingestion: Ingestion,
    streamgauge_sink: MemorySink,
) -> None:
    client, server = pair
    ours = meters(layer=layer).socket(server, customer_id="ann")
    ours.sendall(b"x" * 1_000)
    receive(client, 1_000)
    child = os.fork()
    if child == 0:
        ours.sendall(b"y" * 70)
        ours.close()
        streamgauge_ingestion.close()
        # Below the payload the parent's kernel counters have it all.
        os._exit(streamgauge_sink.total_bytes() != (70 if layer == "payload" else 0))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    receive(client, 70)
    ours.close()
    client.close()
    assert billed() == {"ann": 1_000 if layer == "payload" else 1_070}


def test_a_killed_process_bills_what_was_read_last(tmp_path: Path) -> None:
    sink = MemorySink()
    child = os.fork()
    if child == 0:
        _follow_and_die(tmp_path)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -9
    heir = Ingestion(environment="test_mode", event_name="e", sink=sink, spool_dir=tmp_path)
    until(sink.bytes_by_customer)
    assert heir.close()
    assert sink.bytes_by_customer() == {"ann": 50_000}


def _follow_and_die(spool_dir: Path) -> None:
    ingestion = Ingestion(
        environment="test_mode", event_name="e", sink=MemorySink(), spool_dir=spool_dir
    )
    meter = SocketMeter(ingestion, layer="tls", poll_interval_s=60)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    stream = meter.follow(server, customer_id="ann")
    server.sendall(b"x" * 50_000)
    receive(client, 50_000)
    _poll_until(meter, stream, 50_000)
    server.sendall(b"lost with the process")
    os.kill(os.getpid(), 9)


def _poll_until(meter: SocketMeter, stream: FollowedStream, sent: int) -> None:
    until(lambda: (meter.poll(), stream._spans[0][0].total == sent)[1])


def _window(at: datetime, window_s: int) -> datetime:
    return datetime.fromtimestamp(at.timestamp() // window_s * window_s, UTC)


@pytest.mark.parametrize("delay_s", [0, 0.1])
def test_an_end_that_comes_while_the_meter_closes_is_waited_for(
    pair: Pair,
    meters: Meters,
    billed: Callable[[], Any],
    measured: list[Measured],
    delay_s: float,
) -> None:
    client, server = pair
    meter = meters()
    ours = meter.socket(server, customer_id="ann")
    watch = meter._metering.connections._watch
    told = watch._tell()
    assert told is not None

    def late(gone: Destroyed) -> None:
        time.sleep(delay_s)
        told(gone)

    watch._tell = lambda: late
    ours.sendall(b"12345")
    assert receive(client, 5) == 5
    client.close()
    ours.close()
    meter.close()
    assert billed() == {"ann": 5}
    assert measured[0].tls == Reading(5, How.MEASURED, final=True)


def test_without_announcements_what_was_handed_over_since_the_last_look_is_billed(
    pair: Pair, meters: Meters, billed: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("streamgauge.streams.kernel.watch.Listener", none)
    monkeypatch.setattr("streamgauge.streams.kernel.connection.alive", lambda _: None)
    client, server = pair
    meter = meters()
    ours = meter.socket(server, customer_id="ann")
    ours.sendall(b"x" * 1_000)
    receive(client, 1_000)
    meter.poll()
    ours.sendall(b"y" * 2_000)
    receive(client, 2_000)
    ours.close()
    client.close()
    meter.poll()
    assert billed() == {"ann": 3_000}
