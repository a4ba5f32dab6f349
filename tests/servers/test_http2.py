"""HTTP/2, where exchanges share a connection: each one's bytes, and the connection's sum."""

from __future__ import annotations

import collections
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

import h2.connection
import h2.events
import pytest

from tests.servers.matrix import LAYERS, matrix
from tests.servers.running import HTTP_2, ROWS, Row, Running, Servers
from tests.servers.test_hang_up import SIZE, STOPPED_AT, received
from tests.wire.client import Link, client_context

ROW = ROWS["hypercorn HTTP/1.1 TLS"]


class Http2Client:
    """Asks on one connection, and counts the frames of each stream that it gets."""

    def __init__(
        self, server: Running, row: Row = ROW, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> None:
        context = client_context()
        context.set_alpn_protocols(["h2"])
        context.maximum_version = version
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 262_144)
        made.connect(("127.0.0.1", server.ports[row.port]))
        self.link = Link(made, context if row.is_tls else None)
        self.frame_bytes: dict[int, int] = collections.Counter()
        self.payload_bytes: dict[int, int] = collections.Counter()
        self.ended: set[int] = set()
        self._h2 = h2.connection.H2Connection()
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(2**30)
        self._rest = b""

    def ask(self, customer: str, target: str, window_bytes: int = 2**30) -> int:
        stream = self._h2.get_next_available_stream_id()
        fields = {":method": "GET", ":scheme": "https", ":authority": "a", ":path": target}
        fields["x-customer"] = customer
        self._h2.send_headers(stream, list(fields.items()), end_stream=True)
        if window_bytes:
            self._h2.increment_flow_control_window(window_bytes, stream)
        self.flush()
        return stream

    def flush(self) -> None:
        self.link.send(self._h2.data_to_send())

    def reset(self, stream: int) -> None:
        self._h2.reset_stream(stream)
        self.flush()

    def receive(self) -> None:
        data = self.link.receive()
        assert data, "the server has closed the connection"
        self._count(data)
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self.payload_bytes[event.stream_id] += len(event.data)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
        if pending := self._h2.data_to_send():
            self.link.send(pending)

    def receive_all(self, *streams: int) -> None:
        while not self.ended.issuperset(streams):
            self.receive()

    def _count(self, data: bytes) -> None:
        data = self._rest + data
        while len(data) >= 9 and len(data) >= (size := 9 + int.from_bytes(data[:3], "big")):
            self.frame_bytes[int.from_bytes(data[5:9], "big")] += size
            data = data[size:]
        self._rest = data


def one_of(server: Running, customer: str) -> dict[str, Any]:
    (one,) = server.measured(customer)
    return one


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_streams_of_two_customers_at_a_time_are_each_counted_to_the_byte(
    servers: Servers, named: Callable[[str], str], version: ssl.TLSVersion
) -> None:
    server = servers.of(ROW)
    client = Http2Client(server, version=version)
    ann, bob, cyd = named("ann"), named("bob"), named("cyd")
    streams = {
        ann: client.ask(ann, "/stream?size=3000001"),
        bob: client.ask(bob, "/stream?size=2000000&chunk=300&framing=chunked"),
    }
    client.receive_all(*streams.values())
    streams[cyd] = client.ask(cyd, "/stream?size=7")
    client.receive_all(streams[cyd])
    client.link.end()
    got = {customer: one_of(server, customer) for customer in streams}
    for customer, stream in streams.items():
        one = got[customer]
        assert {layer: one[layer]["how"] for layer in LAYERS} == matrix()[HTTP_2].how
        assert one["payload"]["bytes"] == client.payload_bytes[stream]
        assert one["http"]["bytes"] == client.frame_bytes[stream]
        assert one["is_complete"]
        assert one["tls"]["final"]
        assert one["http"]["bytes"] < one["tls"]["bytes"] < one["wire"]["bytes"]
        server.billed(customer, client.payload_bytes[stream])
    assert len({one["connection"] for one in got.values()}) == 1
    assert sum(one["tls"]["bytes"] for one in got.values()) == client.link.stream_bytes


def test_without_tls_streams_divide_what_the_connection_carried(
    servers: Servers, named: Callable[[str], str]
) -> None:
    row = ROWS["hypercorn HTTP/1.1"]
    server = servers.of(row)
    client = Http2Client(server, row)
    sizes = {named("ann"): 500_000, named("bob"): 400_000}
    streams = [client.ask(one, f"/stream?size={size}") for one, size in sizes.items()]
    client.receive_all(*streams)
    client.link.end()
    got = [one_of(server, customer) for customer in sizes]
    assert [one["payload"]["bytes"] for one in got] == list(sizes.values())
    assert sum(one["http"]["bytes"] for one in got) == client.link.stream_bytes
    assert all(one["http"] == one["tls"] for one in got)


def test_a_stream_is_concluded_while_its_connection_goes_on(
    servers: Servers, named: Callable[[str], str]
) -> None:
    server = servers.of(ROW)
    client = Http2Client(server)
    ann, bob = named("ann"), named("bob")
    first = client.ask(ann, "/stream?size=200000")
    client.receive_all(first)
    second = client.ask(bob, "/stream?size=100000", window_bytes=0)
    assert one_of(server, ann)["payload"]["bytes"] == 200_000
    client.reset(second)
    client.link.end()
    one_of(server, bob)


def test_a_stream_that_is_reset_pays_for_what_was_sent_of_it(
    servers: Servers, named: Callable[[str], str]
) -> None:
    server = servers.of(ROW)
    client = Http2Client(server)
    ann, bob = named("ann"), named("bob")
    # All that the default window lets through; the rest stays in the server.
    held = client.ask(ann, f"/stream?size={SIZE}", window_bytes=0)
    while client.payload_bytes[held] < 65_535:
        client.receive()
    client.reset(held)
    other = client.ask(bob, "/stream?size=300000")
    client.receive_all(other)
    one = one_of(server, ann)
    assert one["payload"]["bytes"] == client.payload_bytes[held] == 65_535
    assert not one["is_complete"]
    client.link.end()
    assert one_of(server, bob)["payload"]["bytes"] == 300_000
    server.billed(ann, 65_535)


@pytest.mark.parametrize("viewers", [1, 2])
def test_viewers_who_hang_up_pay_for_what_reached_their_kernel(
    servers: Servers, named: Callable[[str], str], viewers: int
) -> None:
    server = servers.of(ROW)
    client = Http2Client(server)
    customers = [named(f"viewer{number}") for number in range(viewers)]
    for customer in customers:
        client.ask(customer, f"/stream?size={SIZE}")
    while sum(client.payload_bytes.values()) < STOPPED_AT:
        client.receive()
    arrived = received(client.link)
    client.link.reset()
    got = [one_of(server, customer) for customer in customers]
    billed = sum(one["payload"]["bytes"] for one in got)
    sys.stdout.write(
        f"{HTTP_2}: kernel {arrived:,} billed {billed:,} {billed / arrived - 1:+.2%}\n"
    )
    assert abs(billed - arrived) <= arrived // 20
    assert not any(one["is_complete"] for one in got)
    for customer, one in zip(customers, got, strict=True):
        server.billed(customer, one["payload"]["bytes"])
