"""The kernel's counters and announcements, read from real sockets."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from streamgauge.core.clock import SystemClock
from streamgauge.streams.kernel.connection import Connection
from streamgauge.streams.kernel.connections import Connections
from streamgauge.streams.kernel.lookup import find_socket
from streamgauge.streams.kernel.netlink import (
    Destroyed,
    Identity,
    Listener,
    LostError,
    alive,
)
from streamgauge.streams.kernel.tcp_info import (
    NOTHING,
    TcpInfo,
    Traffic,
    between,
    cookie,
    parse,
    read,
)
from streamgauge.streams.kernel.watch import Watch

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[Callable[[], Pair]]:
    opened: list[socket.socket] = []
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    listener = socket.create_server((request.param, 0), family=family)

    def connect() -> Pair:
        client = socket.create_connection(listener.getsockname()[:2])
        server, _ = listener.accept()
        opened.extend((client, server))
        return client, server

    yield connect
    for one in (*opened, listener):
        one.close()


def receive_all(client: socket.socket, size: int) -> None:
    while size:
        size -= len(client.recv(size))


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def _drain(listener: Listener) -> None:
    for _ in range(100):
        list(listener.receive(0.1))


class Stream:
    """An exchange that keeps what it is told."""

    is_blind = False

    def __init__(self) -> None:
        self.ended = False
        self.traffic: list[Traffic] = []
        self.connection: Connection | None = None
        self.conclusions: list[tuple[bool, bool]] = []

    def began(self, connection: Connection, info: TcpInfo) -> None:
        self.connection = connection

    def missing(self, info: TcpInfo) -> int:
        return 0

    def observe(self, traffic: Traffic, info: TcpInfo) -> None:
        self.traffic.append(traffic)

    def conclude(self, *, certain: bool, sent: bool = False, leaving: bool = False) -> None:
        self.conclusions.append((certain, sent))

    def disown(self) -> None:
        pass


class Told:
    """The local ports of sockets that are said to be gone."""

    def __init__(self) -> None:
        self.ports: list[int] = []

    def destroyed(self, gone: Destroyed) -> None:
        self.ports.append(gone.port)

    def look(self, *, lost: bool) -> None:
        pass


@pytest.fixture
def connections() -> Iterator[Connections]:
    made = Connections(SystemClock())
    yield made
    made.close()


def test_bytes_that_arrived_are_those_the_peer_acknowledged(pair: Callable[[], Pair]) -> None:
    client, server = pair()
    server.sendall(b"x" * 100_000)
    receive_all(client, 100_000)
    until(lambda: (info := read(server)) is not None and info.arrived == 100_000)


def test_a_closed_socket_reads_as_nothing(pair: Callable[[], Pair]) -> None:
    _, server = pair()
    server.close()
    assert read(server) is None
    assert cookie(server) is None


def test_headers_and_the_syn_ack_are_on_the_wire() -> None:
    after = NOTHING._replace(options=1, sent=1_500, retrans=500, acked=1_001, segs_out=3, segs_in=2)
    assert between(NOTHING, after, 20) == Traffic(1_000, 0, 1_500 + 3 * 52 + 60, 52 + 60, 500)
    assert between(NOTHING, after._replace(options=0), 40).wire_out == 1_500 + 3 * 60 + 72


def test_the_syn_of_a_connection_that_we_opened_is_a_segment_and_no_byte() -> None:
    after = NOTHING._replace(state=1, options=1, sent=900, acked=901, segs_out=2, segs_in=2)
    assert after.counts_syn
    assert not after._replace(acked=900).counts_syn
    assert not after._replace(state=4).counts_syn, "an acknowledged FIN looks the same"
    ours = between(NOTHING, after, 20, is_ours=True)
    assert (ours.wire_out, ours.wire_in) == (900 + 52 + 60, 52 + 60)
    assert between(after, after, 20, is_ours=True).wire_in == 0


def test_a_count_of_segments_that_wrapped_goes_on() -> None:
    before = NOTHING._replace(segs_out=2**32 - 2, segs_in=2**32 - 1)
    after = before._replace(segs_out=3, segs_in=1)
    assert between(before, after, 20).wire_out == 5 * 40
    assert between(before, after, 20).wire_in == 2 * 40


def test_a_socket_is_announced_after_its_buffer_drained(pair: Callable[[], Pair]) -> None:
    client, server = pair()
    listener = Listener()
    listener.only([server.getsockname()[1]])
    name = cookie(server)
    server.setblocking(False)  # noqa: FBT003 - the standard library's own
    size = 0
    while True:
        try:
            size += server.send(b"x" * 65_536)
        except BlockingIOError:
            break
    server.close()
    receive_all(client, size)
    client.close()
    gone = [one for _ in range(3) for one in listener.receive(0.5) if one.cookie == name]
    listener.close()
    assert [one.info.arrived for one in gone] == [size]


def test_announcements_of_other_ports_are_filtered(pair: Callable[[], Pair]) -> None:
    listener = Listener()
    listener.only([1])
    while list(listener.receive(0.2)):
        """What was announced before the filter was there."""
    client, server = pair()
    server.close()
    client.close()
    found = list(listener.receive(0.5))
    listener.close()
    assert found == []


def test_who_watches_a_port_is_told_of_no_other_where_the_filter_is_not_there_yet(
    pair: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Listener, "only", lambda *_: None)
    told = Told()
    client, server = pair()
    port = server.getsockname()[1]
    watch = Watch(told.destroyed, told.look)
    watch.listen(port)
    server.close()
    client.close()
    until(lambda: port in told.ports)
    last = pair()[1]
    last.close()
    until(lambda: told.ports.count(port) == 2)
    watch.close()
    assert set(told.ports) == {port}


def test_lost_announcements_are_noticed(pair: Callable[[], Pair]) -> None:
    listener = Listener()
    listener._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(50):
        for one in pair():
            one.close()
    # The kernel announces from a queue of its own; nobody reads until it is through.
    time.sleep(0.5)
    with pytest.raises(LostError):
        _drain(listener)
    listener.close()


def test_a_closed_connection_lives_on_until_its_bytes_are_delivered(
    pair: Callable[[], Pair],
) -> None:
    client, server = pair()
    local, peer = server.getsockname(), server.getpeername()
    packed = [socket.inet_pton(server.family, address[0]) for address in (local, peer)]
    name = cookie(server)
    assert name is not None
    identity = Identity(name, server.family, packed[0], local[1], packed[1], peer[1])
    server.sendall(b"x" * 50_000)
    server.close()
    waiting = alive(identity)
    assert waiting is not None
    assert waiting.sent == 50_000
    assert alive(identity._replace(cookie=name + 1)) is None
    receive_all(client, 50_000)
    client.close()
    until(lambda: alive(identity) is None)


@pytest.mark.parametrize("wildcard", [False, True])
def test_a_connection_is_found_by_its_addresses(pair: Callable[[], Pair], wildcard: bool) -> None:
    client, server = pair()
    _other = pair()
    local, peer = server.getsockname()[:2], server.getpeername()[:2]
    here = ("::" if ":" in local[0] else "0.0.0.0") if wildcard else local[0]
    found = find_socket((here, local[1]), peer)
    assert found is not None
    assert cookie(found) == cookie(server)
    assert read(found) == read(server)
    assert (found.getsockname(), found.getpeername()) == (local, peer)
    assert find_socket((here, local[1]), (peer[0], 1)) is None
    assert find_socket(("not an address", local[1]), peer) is None
    client.close()
    server.close()
    until(lambda: read(found) is None)


def test_each_exchange_of_a_connection_has_what_was_carried_in_its_time(
    pair: Callable[[], Pair], connections: Connections
) -> None:
    client, server = pair()
    streams = [Stream(), Stream()]
    for stream, size in zip(streams, (1_000, 30_000), strict=True):
        client.sendall(b"GET")
        receive_all(server, 3)
        assert connections.begin(server, stream)
        server.sendall(b"x" * size)
        receive_all(client, size)
    server.close()
    client.close()
    until(lambda: bool(streams[1].conclusions))
    first, second = streams[0].traffic[-1], streams[1].traffic[-1]
    assert (first.arrived, second.arrived) == (1_000, 30_000)
    assert streams[0].conclusions == [(True, True)]
    assert streams[1].conclusions == [(True, False)]
    assert connections.count == 0


def test_of_a_connection_that_we_opened_the_syn_is_not_among_the_bytes(
    pair: Callable[[], Pair], connections: Connections
) -> None:
    client, server = pair()
    stream = Stream()
    assert connections.begin(client, stream)
    client.sendall(b"x" * 1_000)
    receive_all(server, 1_000)
    assert stream.connection is not None
    until(lambda: (info := read(client)) is not None and info.acked == 1_001)
    # Of 1,000 more bytes none is acknowledged: the peer's buffer is full of them or they wait.
    half = stream.connection.read()
    assert half is not None
    stream.connection.observe(half._replace(sent=2_000))
    assert stream.traffic[-1].arrived == 1_000
    client.close()
    server.close()
    until(lambda: bool(stream.conclusions))
    assert stream.traffic[-1].arrived == 1_000


def test_a_socket_that_nobody_holds_is_closed(
    pair: Callable[[], Pair], connections: Connections
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    stream = Stream()
    assert connections.begin(server, stream)
    with pytest.warns(ResourceWarning, match="unclosed"):
        del server
    assert client.recv(1) == b""
    client.close()
    until(lambda: stream.conclusions == [(True, False)])


def test_without_announcements_what_is_over_is_concluded_as_uncertain(
    pair: Callable[[], Pair], connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("streamgauge.streams.kernel.watch.Listener", none)
    client, server = pair()
    stream = Stream()
    assert connections.begin(server, stream)
    assert not connections.announced
    server.sendall(b"x" * 1_000)
    receive_all(client, 1_000)
    stream.ended = True
    assert stream.connection is not None
    connections.end(stream.connection, stream)
    connections.refresh(stream.connection, stream)
    server.close()
    client.close()
    connections._look(lost=True)
    assert stream.conclusions == [(False, False)]
    assert stream.traffic[-1].arrived == 1_000


def _raw(*, queued: int | None = None, **fields: int) -> TcpInfo:
    """Return what is made of a ``struct tcp_info`` with these fields."""
    data = bytearray(232)
    for name, value in fields.items():
        code, at = FIELDS[name]
        struct.pack_into(f"={code}", data, at, value)
    info = parse(bytes(data), queued=queued)
    assert info is not None
    return info


FIELDS = {
    "state": ("B", 0),
    "recovery": ("B", 1),
    "timeouts": ("B", 2),
    "options": ("B", 5),
    "mss": ("I", 16),
    "unacked": ("I", 24),
    "silence_ms": ("I", 56),
    "acked": ("Q", 120),
    "segs_out": ("I", 136),
    "notsent": ("I", 144),
    "rate": ("Q", 160),
    "busy_us": ("Q", 168),
    "sent": ("Q", 200),
    "retrans": ("Q", 208),
}
# A megabyte was sent; two segments were refused here, and one was lost and sent again.
REFUSED = {"mss": 1_000, "segs_out": 1_003, "sent": 1_003_000, "retrans": 1_000}


@pytest.mark.parametrize(
    "seen",
    [
        {"state": 1, "acked": 1_000_000},
        {"state": 1, "acked": 900_000, "unacked": 100},
        {"state": 1, "acked": 900_000, "queued": 150_000, "notsent": 50_000},
        {"state": 5, "acked": 1_000_001},
        {"state": 7, "acked": 1_000_001, "queued": 0},
        {"state": 7, "acked": 900_000, "queued": 100_000, "recovery": 3},
    ],
)
def test_what_this_host_refused_to_send_was_not_sent(seen: dict[str, int]) -> None:
    info = _raw(**REFUSED, **seen)
    assert (info.sent, info.dropped, info.segs_out) == (1_001_000, 2_000, 1_001)
    assert info.arrived == min(seen["acked"], 1_000_000)
    traffic = between(NOTHING, info, 20)
    assert (traffic.wire_out, traffic.dropped) == (1_001_000 + 1_001 * 40 + 52, 2_000)


@pytest.mark.parametrize(
    "seen",
    [
        {"state": 1, "acked": 1_000_000},
        {"state": 4, "acked": 1_000_000, "unacked": 1},
        {"state": 7, "acked": 1_000_001, "queued": 0},
        # A reset empties the queue, so without its size nothing is known.
        {"state": 7, "acked": 400_000},
    ],
)
def test_what_was_sent_stays_where_this_host_refused_nothing(seen: dict[str, int]) -> None:
    info = _raw(mss=1_000, sent=1_000_000, segs_out=1_000, **seen)
    assert (info.sent, info.dropped, info.presumed, info.segs_out) == (1_000_000, 0, 0, 1_000)


RESET = {"state": 7, "mss": 1_000, "acked": 1_000_000, "sent": 1_200_000, "queued": 250_000}
PACE = {"notsent": 50_000, "rate": 2_500_000, "busy_us": 1_000_000}


@pytest.mark.parametrize(
    ("seen", "presumed"),
    [
        ({"silence_ms": 20}, 50_000),
        ({"silence_ms": 900}, 100_000),
        ({"silence_ms": 20, "rate": 500_000}, 20_000),
        ({"silence_ms": 40, "rate": 250_000_000}, 200_000),
        ({"silence_ms": 0}, 2_500),
        ({"silence_ms": 20, "timeouts": 1}, 0),
        ({"silence_ms": 20, "recovery": 3}, 0),
    ],
    ids=["rate", "late acknowledgement", "mean rate", "all", "below a tick", "gone", "holes"],
)
def test_what_was_under_way_at_a_reset_went_on_arriving(
    seen: dict[str, int], presumed: int
) -> None:
    info = _raw(**(RESET | PACE | seen))
    assert (info.presumed, info.arrived) == (presumed, 1_000_000 + presumed)
    assert between(NOTHING, info, 20).presumed == presumed
    assert info.sent == 1_200_000


def test_a_moment_ahead_divides_what_is_carried_and_loses_none() -> None:
    now = NOTHING._replace(
        options=1, mss=1_000, acked=40_000, sent=70_000, retrans=10_000, segs_out=80, notsent=90_000
    )
    later = now._replace(acked=150_000, sent=165_000, retrans=15_000, segs_out=175, notsent=0)
    whole = between(NOTHING, later, 20)
    for missing in (5_000, 20_000, 75_500):
        ahead = now.ahead(missing)
        first, second = between(NOTHING, ahead, 20), between(ahead, later, 20)
        assert first.arrived == 40_000 + missing
        assert first.is_split
        assert second.is_split
        for one, other, both in zip(first[:5], second[:5], whole[:5], strict=True):
            assert one + other == both
    # What arrived by now belongs to the first, whatever the second was given.
    assert between(now.ahead(75_500), now, 20)[:5] == (0, 0, 0, 0, 0)
