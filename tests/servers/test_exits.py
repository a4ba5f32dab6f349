"""Every way out of a response is counted once, on every first-tier server."""

from __future__ import annotations

import pytest

from tests.servers.running import EXITS, ROWS, Running, Servers
from tests.wire.client import Link

KEPT = tuple(name for name in EXITS if "sync" not in name.split())
ASGI = tuple(name for name in EXITS if "sync" not in name and "gthread" not in name)
on_each = pytest.mark.parametrize("name", EXITS)


def exchange(server: Running, name: str, request: str, *, body: bytes = b"") -> bytes:
    """Send one request that ends its connection, and return all that comes back."""
    link = server.link(ROWS[name])
    link.send(request.replace("\n", "\r\n").encode() + body)
    received = everything(link)
    link.drop()
    return received


def everything(link: Link) -> bytes:
    received = b""
    try:
        while data := link.receive():
            received += data
    except ConnectionResetError:
        """The server has closed with bytes of ours unread."""
    return received


def body_of(received: bytes) -> bytes:
    """Return the body; some servers frame it also for clients of HTTP/1.0."""
    head, _, rest = received.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return rest
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return body


@on_each
@pytest.mark.parametrize(
    ("method", "target"),
    [("HEAD", "/stream?size=70000"), ("GET", "/stream?status=204"), ("GET", "/stream?status=304")],
)
def test_a_response_without_a_body_is_free(
    servers: Servers, customer: str, name: str, method: str, target: str
) -> None:
    server = servers.of(ROWS[name])
    mark = len(server.lines)
    head = f"{method} {target} HTTP/1.1\nhost: a\nx-customer: {customer}\nconnection: close\n\n"
    received = exchange(server, name, head)
    (one,) = server.since(mark, 1)
    assert one["payload"]["bytes"] == 0
    assert one["http"]["bytes"] == len(received)
    assert server.total(customer) == 0


@on_each
def test_an_error_before_the_start_is_the_servers_own_answer(
    servers: Servers, customer: str, name: str
) -> None:
    server = servers.of(ROWS[name])
    mark = len(server.lines)
    head = f"GET /broken HTTP/1.1\nhost: a\nx-customer: {customer}\nconnection: close\n\n"
    received = exchange(server, name, head)
    (one,) = server.since(mark, 1)
    assert b" 500 " in received.partition(b"\r\n")[0]
    assert one["payload"]["bytes"] == 0
    assert one["http"]["bytes"] == len(received)
    assert server.total(customer) == 0


@on_each
def test_an_error_in_the_middle_bills_what_arrived(
    servers: Servers, customer: str, name: str
) -> None:
    server = servers.of(ROWS[name])
    head = f"GET /broken?size=5000 HTTP/1.0\nhost: a\nx-customer: {customer}\n\n"
    received = exchange(server, name, head)
    (one,) = server.measured(customer)
    assert one["payload"]["bytes"] == len(body_of(received)) == 5_000
    server.billed(customer, 5_000)


@on_each
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_connection_that_closes_is_exact(
    servers: Servers, customer: str, name: str, version: str
) -> None:
    server = servers.of(ROWS[name])
    target = "/stream?size=60000" + ("&framing=chunked" if version == "1.0" else "")
    head = f"GET {target} HTTP/{version}\nhost: a\nx-customer: {customer}\nconnection: close\n\n"
    received = exchange(server, name, head)
    (one,) = server.measured(customer)
    assert one["payload"]["bytes"] == len(body_of(received)) == 60_000
    assert one["http"]["bytes"] == one["tls"]["bytes"] == len(received)
    assert one["is_complete"]


@on_each
def test_an_expected_continuation_belongs_to_the_response(
    servers: Servers, customer: str, name: str
) -> None:
    server = servers.of(ROWS[name])
    link = server.link(ROWS[name])
    head = (
        f"POST /upload HTTP/1.1\nhost: a\nx-customer: {customer}\ncontent-length: 20500\n"
        "expect: 100-continue\nconnection: close\n\n"
    )
    link.send(head.replace("\n", "\r\n").encode())
    received = link.receive()
    assert received.startswith(b"HTTP/1.1 100 ")
    link.send(b"u" * 20_500)
    received += everything(link)
    link.drop()
    (one,) = server.measured(customer)
    assert one["payload"]["bytes"] == 500
    assert one["http"]["bytes"] == len(received)


@pytest.mark.parametrize("name", KEPT)
def test_pipelined_requests_are_each_counted_once(
    servers: Servers, customer: str, name: str
) -> None:
    server = servers.of(ROWS[name])
    sizes = [300_000, 1, 150_000]
    requests = "".join(
        f"GET /stream?size={size} HTTP/1.1\nhost: a\nx-customer: {customer}\n"
        + ("connection: close\n\n" if size == sizes[-1] else "\n")
        for size in sizes
    )
    received = exchange(server, name, requests)
    got = server.measured(customer, 3)
    assert [one["payload"]["bytes"] for one in got] == sizes
    assert sum(one["tls"]["bytes"] for one in got) == len(received)
    server.billed(customer, sum(sizes))


@pytest.mark.parametrize("name", ASGI)
def test_a_view_of_wider_items_counts_its_bytes(servers: Servers, customer: str, name: str) -> None:
    server = servers.of(ROWS[name])
    head = f"GET /items HTTP/1.1\nhost: a\nx-customer: {customer}\nconnection: close\n\n"
    received = exchange(server, name, head)
    mark_body = len(body_of(received))
    if mark_body == 0:
        # A server that refuses it has sent nothing to bill.
        server.billed(customer, 0)
        return
    (one,) = server.measured(customer)
    assert one["payload"]["bytes"] == mark_body == 300


@pytest.mark.parametrize("name", ASGI)
def test_a_chunk_of_text_is_the_servers_to_refuse(
    servers: Servers, customer: str, name: str
) -> None:
    server = servers.of(ROWS[name])
    mark = len(server.lines)
    head = f"GET /text HTTP/1.1\nhost: a\nx-customer: {customer}\nconnection: close\n\n"
    received = exchange(server, name, head)
    (one,) = server.since(mark, 1)
    assert one["http"]["bytes"] == len(received)
    assert one["payload"]["bytes"] == 0


@on_each
@pytest.mark.parametrize(("size", "declared"), [(3_000, 1_000), (1_000, 3_000)])
def test_a_response_that_is_not_as_long_as_it_says_bills_what_arrived(
    servers: Servers, customer: str, name: str, size: int, declared: int
) -> None:
    server = servers.of(ROWS[name])
    mark = len(server.lines)
    target = f"/stream?size={size}&declared={declared}&chunk=500"
    head = f"GET {target} HTTP/1.1\nhost: a\nx-customer: {customer}\nconnection: close\n\n"
    received = exchange(server, name, head)
    (one,) = server.since(mark, 1)
    assert one["payload"]["bytes"] == len(body_of(received)) <= 1_000
    assert one["http"]["bytes"] == len(received)


@on_each
def test_a_peer_that_sends_less_than_it_says_is_counted_once(
    servers: Servers, customer: str, name: str
) -> None:
    server = servers.of(ROWS[name])
    mark = len(server.lines)
    head = (
        f"POST /upload HTTP/1.1\nhost: a\nx-customer: {customer}\ncontent-length: 9000\n"
        "connection: close\n\n"
    )
    link = server.link(ROWS[name])
    link.send(head.replace("\n", "\r\n").encode() + b"u" * 100)
    link.drop()
    (one,) = server.since(mark, 1)
    assert one["payload"]["bytes"] <= 100
