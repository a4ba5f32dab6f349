"""Viewers who hang up pay for what reached their kernel, beside what a naive count says."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import pytest

from streamgauge.streams.kernel.tcp_info import INFO_BYTES, parse
from tests.servers.running import FIRST_TIER, ROWS, SECOND_TIER, Servers
from tests.wire.client import Link

SIZE = 100 * 1024 * 1024
STOPPED_AT = 1024 * 1024
# Behind granian's WSGI nothing is known of the connection, so what was handed over is billed.
MEASURED = [name for name in (*FIRST_TIER, *SECOND_TIER) if name != "granian WSGI"]
CASES = [(name, path) for name in MEASURED for path in ("stream", "file")]


def received(link: Link) -> int:
    """Return what the kernel of this end has received, whoever has read it, at a standstill."""
    before, size = -1, 0
    while size != before:
        time.sleep(0.05)
        info = parse(link._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_BYTES))
        assert info is not None
        before, size = size, info.received
    return size


@pytest.mark.parametrize(("name", "path"), CASES)
def test_who_hangs_up_pays_for_what_reached_the_kernel(
    servers: Servers, customer: str, film: Path, name: str, path: str
) -> None:
    row = ROWS[name]
    server = servers.of(row)
    link = server.link(row, receive_buffer_bytes=262_144)
    target = f"/stream?size={SIZE}" if path == "stream" else f"/file?path={film}"
    link.send(f"GET {target} HTTP/1.1\r\nhost: a\r\nx-customer: {customer}\r\n\r\n".encode())
    got = 0
    while got < STOPPED_AT:
        got += len(link.receive())
    arrived = received(link)
    link.reset()
    (one,) = server.measured(customer)
    billed = one["payload"]["bytes"]
    naive = server.naive(customer)
    sys.stdout.write(
        f"{name:31} {path:6} kernel {arrived:9,} billed {billed:9,} "
        f"({billed / arrived - 1:+.2%}) naive {naive:11,} ({naive / arrived - 1:+.0%})\n"
    )
    assert abs(billed - arrived) <= arrived // 20
    assert not one["is_complete"]
    server.billed(customer, billed)
