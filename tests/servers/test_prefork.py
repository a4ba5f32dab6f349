"""Workers forked from a process that had made the middleware, and ends with open streams."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.running import ROWS, Running, Servers
from tests.servers.test_exits import everything
from tests.servers.test_hang_up import received
from tests.wire.client import Client, Link

PREFORK = ROWS["gunicorn sync, 4 workers"]
CONNECTIONS = 24
STOPPED = ("uvicorn h11 asyncio", "gunicorn gthread")


def test_four_workers_bill_every_byte_once_through_one_deliverer(
    servers: Servers, named: Callable[[str], str]
) -> None:
    server = servers.of(PREFORK)
    names = [named(name) for name in ("ann", "bob", "eve")]
    got: Counter[str] = Counter()
    lock = threading.Lock()

    def ask(number: int) -> None:
        customer = names[number % len(names)]
        client = Client(server.link(PREFORK, receive_buffer_bytes=16_384))
        response = client.get(f"/stream?size={2_000_000 + number}&framing=chunked", customer)
        client.end()
        with lock:
            got[customer] += response.payload_bytes

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for customer in names:
        records = server.measured(customer, CONNECTIONS // len(names))
        assert len(records) == CONNECTIONS // len(names)
        assert sum(one["payload"]["bytes"] for one in records) == got[customer]
        assert {one["wire"]["how"] for one in records} == {"measured"}
        server.billed(customer, got[customer])
    assert len(server.pids("measured")) > 1
    assert server.process.pid not in server.pids("measured")
    assert len(server.pids("billed")) == 1


def test_what_killed_workers_had_counted_is_billed_by_those_that_follow(
    servers: Servers, named: Callable[[str], str]
) -> None:
    server = servers.start(PREFORK, "prefork-killed")
    ann = named("ann")
    link = server.link(PREFORK, receive_buffer_bytes=262_144)
    arrived = start(link, "/stream?size=90000000", ann)
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    for worker in children.read_text().split():
        os.kill(int(worker), signal.SIGKILL)
    assert server.stop() == 0
    link.drop()
    assert server.total(ann) == 0
    again = servers.start(PREFORK, "prefork-killed")
    again.wait_for(lambda: again.total(ann) > 0)
    # Beyond what arrived, the kernel has taken what fits its buffers.
    assert arrived - 1_000 < again.total(ann) < arrived + 8_000_000


@pytest.mark.parametrize("name", STOPPED)
@pytest.mark.parametrize("path", ["stream?size=100000000", "file?path={film}"])
def test_a_server_that_is_stopped_bills_what_its_kernel_still_delivers(
    servers: Servers, named: Callable[[str], str], film: Path, name: str, path: str
) -> None:
    row = ROWS[name]
    directory = named("stopped")
    server = servers.start(row, directory)
    links = {named(one): server.link(row, receive_buffer_bytes=262_144) for one in ("ann", "bob")}
    for customer, link in links.items():
        start(link, f"/{path.format(film=film)}", customer)
    # What has no time to be delivered is on disk for the next process: gunicorn kills its workers.
    server.stop()
    runs = [server, *([servers.start(row, directory)] if "gunicorn" in name else [])]
    for customer, link in links.items():
        everything(link)
        link.drop()
        runs[-1].wait_for(functools.partial(is_billed, runs, customer, link.stream_bytes))


def is_billed(runs: list[Running], customer: str, size: int) -> bool:
    billed = sum(one.total(customer) for one in runs)
    assert billed <= size * 1.05
    return billed >= size * 0.95


def start(link: Link, target: str, customer: str) -> int:
    """Ask for a stream, read its first megabyte, and return what has arrived of it."""
    link.send(f"GET {target} HTTP/1.1\r\nhost: a\r\nx-customer: {customer}\r\n\r\n".encode())
    while link.stream_bytes < 1_000_000:
        link.receive()
    return received(link)
