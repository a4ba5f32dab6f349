from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.bed import CLIENT, SERVER, Bed
from tests.wire.capture import Capture
from tests.wire.packets import Connection

pytestmark = pytest.mark.netns

PORT = 9000
SENT = bytes(300_000)
FAMILIES = (socket.AF_INET, socket.AF_INET6)


@pytest.fixture
def listening(bed: Bed) -> Iterator[dict[socket.AddressFamily, socket.socket]]:
    listeners = {family: bed.server.socket(family) for family in FAMILIES}
    for family, listener in listeners.items():
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((SERVER[family], PORT))
        listener.listen()
        listener.settimeout(30)
    yield listeners
    for listener in listeners.values():
        listener.close()
    bed.lose(0)
    bed.shape(None)


def download(bed: Bed, listener: socket.socket, capture_path: Path) -> Connection:
    """Send ``SENT`` to a client, and return what the capture saw."""
    with Capture(bed.server, capture_path) as capture, bed.client.socket(listener.family) as client:
        client.settimeout(30)
        client.connect((SERVER[listener.family], PORT))
        accepted, address = listener.accept()
        assert address[0] == CLIENT[listener.family]
        with accepted:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(SENT))
            accepted.sendall(SENT)
        received = 0
        while data := client.recv(65_536):
            received += len(data)
        assert received == len(SENT)
        client.close()
        return capture.stop(address[1])[address[1]]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_capture_without_loss_has_each_byte_once_in_full_packets(
    family: socket.AddressFamily, bed: Bed, listening: dict, tmp_path: Path
) -> None:
    bed.lose(0)

    egress = download(bed, listening[family], tmp_path / "server.pcap").egress

    ip_header_bytes = 20 if family == socket.AF_INET else 40
    assert egress.stream_bytes == egress.acknowledged_bytes == len(SENT)
    # On a busy machine SYN-ACK and FIN may be sent again.
    assert egress.syns >= 1
    assert egress.fins >= 1
    assert egress.resets == 0
    assert egress.syn_wire_bytes == egress.syns * (ip_header_bytes + 40)
    # Every other packet has 32 bytes of TCP header: nothing is acknowledged out of order.
    headers = egress.wire_bytes - egress.syn_wire_bytes - len(SENT) - egress.retransmitted_bytes
    assert headers == (egress.packets - egress.syns) * (ip_header_bytes + 32)
    assert egress.packets >= len(SENT) // (1500 - ip_header_bytes - 32)


def test_a_router_that_loses_makes_the_server_send_again(
    bed: Bed, listening: dict, tmp_path: Path
) -> None:
    bed.lose(50)

    egress = download(bed, listening[socket.AF_INET], tmp_path / "server.pcap").egress

    assert egress.retransmitted_bytes > 0
    assert egress.stream_bytes == egress.acknowledged_bytes == len(SENT)


def test_a_capture_knows_whose_connections_were_over_before_it(
    bed: Bed, listening: dict, tmp_path: Path
) -> None:
    first = download(bed, listening[socket.AF_INET], tmp_path / "first.pcap")
    second = download(bed, listening[socket.AF_INET], tmp_path / "second.pcap")
    assert {first.client[1], second.client[1]} <= bed.server.clients_over


def test_a_lost_syn_ack_is_sent_and_captured_again(
    bed: Bed, listening: dict, tmp_path: Path
) -> None:
    bed.lose_first_syn_acks(1)

    egress = download(bed, listening[socket.AF_INET6], tmp_path / "server.pcap").egress

    assert egress.syns >= 2
    assert egress.repeated_syn_wire_bytes == (egress.syns - 1) * 80


def test_a_namespace_ends_with_the_process_that_made_it_even_if_it_is_killed() -> None:
    program = (
        "import sys; from tests.wire.bed import Bed\n"
        "bed = Bed(); sleeper = bed.server.start('sh', '-c', 'echo; exec sleep 60', stdout=-1)\n"
        "sleeper.stdout.readline()\n"
        "keepers = (space.keeper_pid for space in (bed.server, bed.router, bed.client))\n"
        "print(sleeper.pid, *keepers, flush=True)\n"
        "sys.stdin.read()"
    )
    root = Path(__file__).parents[2]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], cwd=root, text=True, **pipes) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        ends = [os.pidfd_open(pid) for pid in pids]
        process.kill()
        for end in ends:
            assert select.select([end], [], [], 20)[0]
            os.close(end)
