"""Streams whose process ends, or is forked, before they do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamgauge import Ingestion
from streamgauge.core.payers import Payer
from streamgauge.streams.exchange import Exchange
from streamgauge.streams.layers import Measured
from streamgauge.streams.metering import Metering
from streamgauge.streams.requests import AsgiRequestView
from streamgauge.testing import MemorySink

PAYER = Payer("ann", {})


class Served(Exchange):
    """A stream that a test serves by hand."""

    def request(self) -> AsgiRequestView:
        return AsgiRequestView({"type": "http", "path": "/", "headers": []})


@pytest.fixture
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with client, server:
            yield client, server


def ingestion_into(spool: Path, sink: MemorySink) -> Ingestion:
    return Ingestion(environment="test_mode", event_name="stream", sink=sink, spool_dir=spool)


def send(server: socket.socket, client: socket.socket, size: int) -> int:
    """Send and receive ``size`` bytes."""
    server.sendall(b"x" * size)
    left = size
    while left:
        left -= len(client.recv(left))
    return size


def fill(server: socket.socket) -> int:
    """Send until the kernel takes no more."""
    server.setblocking(False)  # noqa: FBT003 - the standard library's own
    sent = 0
    while True:
        try:
            sent += server.send(b"x" * 65_536)
        except BlockingIOError:
            return sent


def test_a_process_that_ends_bills_what_its_kernel_goes_on_sending(
    tmp_path: Path, connected: tuple[socket.socket, socket.socket]
) -> None:
    client, server = connected
    sink = MemorySink()
    ingestion = ingestion_into(tmp_path, sink)
    stream = Served(Metering(ingestion))
    stream.handed.is_modelled = True
    assert stream.attach(server, is_tls=False)
    taken = fill(server)
    in_the_server_bytes = 70_000
    stream.hold(taken + in_the_server_bytes)
    stream.bill(PAYER)
    assert ingestion.close()
    server.close()
    received = 0
    while chunk := client.recv(65_536):
        received += len(chunk)
    assert sink.total_bytes() == received == taken


@pytest.mark.parametrize("layer", ["payload", "wire"])
def test_a_process_that_is_forked_in_the_middle_bills_its_own_part(
    tmp_path: Path, layer: str
) -> None:
    program = """
import os, socket, sys
from pathlib import Path
from tests_ends import PAYER, Served, ingestion_into
from streamgauge.streams.metering import Metering
from streamgauge.testing import MemorySink

tmp_path, layer = Path(sys.argv[1]), sys.argv[2]
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
sink = MemorySink()
ingestion = ingestion_into(tmp_path / "spool", sink)
stream = Served(Metering(ingestion, layer=layer))
assert stream.attach(server, is_tls=False)

def serve(size):
    stream.add(size) if stream.add else (stream.hold(size), stream.bill(PAYER))
    server.sendall(b"x" * size)
    left = size
    while left:
        left -= len(client.recv(left))

serve(10_000)
child = os.fork()
if child == 0:
    before = sink.total_bytes()
    serve(300)
    stream.end()
    assert ingestion.close()
    (tmp_path / "child").write_text(str(sink.total_bytes() - before))
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0
serve(2_000)
stream.end()
server.close()
client.close()
assert ingestion.close()
(tmp_path / "parent").write_text(str(sink.total_bytes()))
"""
    (tmp_path / "tests_ends.py").write_text(Path(__file__).read_text())
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), layer],
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        timeout=60,
    )
    parent, child = (int((tmp_path / name).read_text()) for name in ("parent", "child"))
    if layer == "payload":
        assert (parent, child) == (12_000, 300)
    else:
        # The parent has the connection's packets, those of the child's part among them.
        assert 12_300 < parent < 12_300 + 1_500
        assert child == 0


@pytest.mark.parametrize(("is_cut", "billed"), [(False, 3_000), (True, 1_000)])
def test_a_connection_that_is_gone_without_a_word_bills_all_unless_the_client_left(
    tmp_path: Path, connected: tuple[socket.socket, socket.socket], *, is_cut: bool, billed: int
) -> None:
    client, server = connected
    sink = MemorySink()
    ingestion = ingestion_into(tmp_path, sink)
    measured: list[Measured] = []
    metering = Metering(ingestion, on_measured=measured.append)
    stream = Served(metering)
    stream.handed.is_modelled = True
    assert stream.attach(server, is_tls=False)
    # No announcement is heard, as where netlink is forbidden.
    metering.connections.close()
    stream.hold(send(server, client, 1_000))
    stream.bill(PAYER)
    stream.refresh()
    assert stream.add is not None
    stream.add(send(server, client, 2_000))
    stream.is_cut = is_cut
    stream.end()
    server.close()
    client.close()
    metering.connections._look(lost=True)
    (one,) = measured
    assert one.payload.bytes == billed
    assert one.wire.bytes > billed
    assert ingestion.close()
    assert sink.total_bytes() == billed
