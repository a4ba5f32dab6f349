"""Connections that an application makes or accepts itself, on real sockets."""

from __future__ import annotations

import io
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamgauge.core.errors import InvalidInputError
from streamgauge.streams.layers import How, Measured
from tests.unit.streams.sockets.peers import Meters, Pair, last, receive, until
from tests.wire.certificate import write_certificate


@pytest.mark.parametrize("pair", ["127.0.0.1", "::1"], indirect=True)
@pytest.mark.parametrize("end", [0, 1], ids=["client", "server"])
def test_what_a_socket_sends_is_billed_at_either_end(
    pair: Pair, end: int, meters: Meters, measured: list[Measured], billed: Callable[[], Any]
) -> None:
    ours, peer = pair[end], pair[1 - end]
    meter = meters()
    with meter.socket(ours, customer_id="ann") as measured_socket:
        measured_socket.sendall(b"x" * 100_000)
        assert measured_socket.send(memoryview(bytearray(b"1234" * 2)).cast("I")) == 8
        assert measured_socket.sendmsg([b"ab", b"c"]) == 3
    assert receive(peer) == 100_011
    peer.close()
    one = last(measured)
    assert billed() == {"ann": 100_011}
    assert [one.of(layer).bytes for layer in ("payload", "http", "tls")] == [100_011] * 3
    assert {one.of(layer).how for layer in ("payload", "http", "tls", "wire")} == {How.MEASURED}
    assert one.wire.bytes > 100_011
    assert one.is_complete
    assert one.request is None


def test_a_peer_that_hangs_up_pays_for_what_reached_it(
    pair: Pair, meters: Meters, measured: list[Measured], billed: Callable[[], Any]
) -> None:
    client, server = pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    ours = meters().socket(server, customer_id="ann")
    sending = threading.Thread(target=_send_whole, args=(ours, b"x" * 50_000_000))
    sending.start()
    got = receive(client, 1_000_000)
    client.close()
    sending.join(20)
    ours.close()
    one = last(measured)
    assert not one.is_complete
    assert got <= one.payload.bytes < 6_000_000
    assert billed() == {"ann": one.payload.bytes}


def _send_whole(ours: Any, data: bytes) -> None:
    with pytest.raises(ConnectionError):
        ours.sendall(data)


def test_a_file_that_is_sent_without_copying_is_billed(
    pair: Pair, meters: Meters, tmp_path: Path, billed: Callable[[], Any], measured: list[Measured]
) -> None:
    client, server = pair
    (tmp_path / "film").write_bytes(b"f" * 3_000_000)
    reading = threading.Thread(target=receive, args=(client,))
    reading.start()
    with meters().socket(server, customer_id="ann") as ours:
        with (tmp_path / "film").open("rb") as film:
            assert ours.sendfile(film, offset=1_000) == 2_999_000
            assert ours.sendfile(film, offset=2_999_990, count=500) == 10
        assert ours.sendfile(io.BytesIO(b"memory")) == 6
    reading.join(10)
    client.close()
    assert last(measured).payload.bytes == 2_999_016
    assert billed() == {"ann": 2_999_016}


def test_what_a_socket_receives_is_billed_where_that_is_asked_for(
    pair: Pair, meters: Meters, measured: list[Measured], billed: Callable[[], Any]
) -> None:
    client, server = pair
    ours = meters(direction="ingress").socket(server, customer_id="ann")
    client.sendall(b"u" * 50_000)
    client.shutdown(socket.SHUT_WR)
    buffer = bytearray(10_000)
    got = ours.recv_into(buffer) + len(ours.recv(5)) + len(ours.recvfrom(5)[0])
    ours.sendall(b"not billed")
    while data := ours.recv(65_536):
        got += len(data)
    ours.close()
    receive(client)
    client.close()
    one = last(measured)
    assert got == 50_000
    # The end of the stream is a byte to the kernel, and none to us.
    assert [one.of(layer).bytes for layer in ("payload", "http", "tls")] == [50_000] * 3
    assert billed() == {"ann": 50_000}


@pytest.mark.parametrize("pair", ["127.0.0.1", "::1"], indirect=True)
def test_what_one_end_sends_on_the_wire_is_what_the_other_receives(
    pair: Pair, meters: Meters
) -> None:
    ends: dict[str, list[Measured]] = {name: [] for name in ("out", "in", "back", "answer")}
    client, server = pair
    for name, end, direction in (
        ("out", client, "egress"),
        ("in", server, "ingress"),
        ("back", server, "egress"),
        ("answer", client, "ingress"),
    ):
        meter = meters(layer="wire", direction=direction)
        meter._metering.on_measured = ends[name].append
        meter.follow(end, customer_id=name)
    for size in (100, 10_000, 1):
        client.sendall(b"x" * size)
        receive(server, size)
        server.sendall(b"y" * size)
        receive(client, size)
    client.close()
    assert receive(server) == 0
    server.close()
    until(lambda: all(ends.values()))
    out, received, back, answer = (ends[name][0] for name in ends)
    assert (out.tls.bytes, back.tls.bytes) == (10_101, 10_101)
    # A peer's end of stream is a byte to the kernel that receives it.
    assert received.wire.bytes == out.wire.bytes + 1
    assert answer.wire.bytes == back.wire.bytes + 1


def test_text_is_refused_by_the_socket_and_counts_nothing(
    pair: Pair, meters: Meters, billed: Callable[[], Any]
) -> None:
    ours: Any = meters().socket(pair[1], customer_id="ann")
    for method in (ours.send, ours.sendall):
        with pytest.raises(TypeError):
            method("text")
    ours.sendall(b"1")
    ours.close()
    pair[0].close()
    assert billed() == {"ann": 1}


def test_a_closed_socket_raises_its_own_error_and_counts_nothing_arrived(
    pair: Pair, meters: Meters, billed: Callable[[], Any]
) -> None:
    client, server = pair
    ours = meters().socket(server, customer_id="ann")
    ours.sendall(b"12345")
    assert receive(client, 5) == 5
    ours.close()
    with pytest.raises(OSError, match="descriptor"):
        ours.sendall(b"678")
    client.close()
    assert billed() == {"ann": 5}


def test_threads_that_share_a_socket_lose_no_byte(
    pair: Pair, meters: Meters, billed: Callable[[], Any]
) -> None:
    client, server = pair
    ours = meters().socket(server, customer_id="ann")
    reading = threading.Thread(target=receive, args=(client,))
    threads = [
        threading.Thread(target=lambda: [ours.sendall(b"x" * 7) for _ in range(2_000)])
        for _ in range(4)
    ]
    for thread in (reading, *threads):
        thread.start()
    for thread in threads:
        thread.join(20)
    ours.close()
    reading.join(20)
    client.close()
    assert billed() == {"ann": 4 * 2_000 * 7}


def test_a_file_of_a_socket_counts(pair: Pair, meters: Meters, billed: Callable[[], Any]) -> None:
    client, server = pair
    ours = meters().socket(server, customer_id="ann")
    with ours.makefile("wb") as file:
        file.write(b"12345")
    with ours.makefile("w", encoding="utf-8", newline="\n") as text:
        text.write("größe\n")
    ours.close()
    assert receive(client) == 5 + 8
    client.close()
    assert billed() == {"ann": 13}


def test_tls_is_measured_below_and_payload_inside(
    meters: Meters, measured: list[Measured], billed: Callable[[], Any], tmp_path: Path
) -> None:
    certificate = write_certificate(tmp_path / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=certificate)
    trusting.check_hostname = False
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    with client, accepted:
        greeting = threading.Thread(target=lambda: _read_tls(trusting, client))
        greeting.start()
        server = context.wrap_socket(accepted, server_side=True)
        with meters().socket(server, customer_id="ann") as ours:
            ours.sendall(b"x" * 100_000)
            ours.write(b"y" * 10)
        greeting.join(10)
    one = last(measured)
    assert billed() == {"ann": 100_010}
    assert (one.payload.bytes, one.http.bytes) == (100_010, 100_010)
    assert 100_010 + 8 * 22 < one.tls.bytes < 100_010 + 8 * 22 + 5_000


def _read_tls(context: ssl.SSLContext, client: socket.socket) -> None:
    with context.wrap_socket(client) as inside:
        receive(inside)


def test_a_unix_socket_is_billed_by_what_is_handed_over(
    meters: Meters, measured: list[Measured], billed: Callable[[], Any]
) -> None:
    one, other = socket.socketpair()
    with other, meters().socket(one, customer_id="ann") as ours:
        ours.sendall(b"12345")
    assert billed() == {"ann": 5}
    assert (measured[0].payload.bytes, measured[0].connection) == (5, None)


def test_a_second_customer_on_a_connection_pays_from_then_on(
    pair: Pair, meters: Meters, billed: Callable[[], Any], measured: list[Measured]
) -> None:
    client, server = pair
    meter = meters()
    for customer_id, data in (("ann", b"12345"), ("bob", b"678")):
        meter.socket(server, customer_id=customer_id).sendall(data)
        receive(client, len(data))
    server.close()
    client.close()
    until(lambda: len(measured) == 2)
    assert billed() == {"ann": 5, "bob": 3}
    assert [one.tls.bytes for one in measured] == [5, 3]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"poll_interval_s": 7}, "poll_interval_s"),
        ({"poll_interval_s": 0}, "poll_interval_s"),
        ({"layer": "ethernet"}, "layer"),
        ({"direction": "both"}, "direction"),
    ],
)
def test_an_option_that_does_not_exist_is_refused(
    meters: Meters, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInputError, match=field):
        meters(**options)


def test_what_cannot_be_measured_is_refused(pair: Pair, meters: Meters) -> None:
    meter = meters()
    with pytest.raises(InvalidInputError, match="customer_id"):
        meter.socket(pair[0], customer_id="")
    with pytest.raises(InvalidInputError, match=r"metadata\.bytes"):
        meter.follow(pair[0], customer_id="ann", metadata={"bytes": 1})
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        pytest.raises(InvalidInputError, match="socket"),
    ):
        meter.socket(datagrams, customer_id="ann")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(InvalidInputError, match="socket"),
    ):
        meter.socket(listener, customer_id="ann")
    one, other = socket.socketpair()
    with one, other, pytest.raises(InvalidInputError, match="connection"):
        meter.follow(one, customer_id="ann")
    assert meter.count == 0


def test_what_is_only_looked_at_is_billed_when_it_is_received(
    pair: Pair, meters: Meters, billed: Callable[[], Any]
) -> None:
    client, server = pair
    with meters(direction="ingress").socket(server, customer_id="ann") as ours:
        looks: list[Callable[[int], object]] = [
            lambda flags: ours.recv(10, flags),
            lambda flags: ours.recv_into(bytearray(10), 10, flags),
            lambda flags: ours.recvfrom(10, flags),
            lambda flags: ours.recvfrom_into(bytearray(10), 10, flags),
            lambda flags: ours.recvmsg(10, 0, flags),
            lambda flags: ours.recvmsg_into([bytearray(10)], 0, flags),
        ]
        for receive_ten in looks:
            client.sendall(b"0123456789")
            receive_ten(socket.MSG_PEEK | socket.MSG_WAITALL)
            receive_ten(socket.MSG_WAITALL)
        assert billed() == {"ann": 60}
