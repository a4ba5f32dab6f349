from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.packets import ACK, FIN, RST, SYN, Connection, Coverage, read_connections

CLIENT_PORT, SERVER_PORT = 40_000, 8000
# Both wrap around within the first bytes.
CLIENT_START, SERVER_START = 2**32 - 5, 2**32 - 1000
FILE_HEADER = struct.pack("IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 114, 1)
TIMESTAMPS = bytes(12)


def ip(version: int, tcp: bytes, payload_bytes: int, *, is_from_server: bool) -> bytes:
    addresses = [bytes([1]) * (4 if version == 4 else 16), bytes([2]) * (4 if version == 4 else 16)]
    if is_from_server:
        addresses.reverse()
    size = len(tcp) + payload_bytes
    if version == 4:
        head = struct.pack(">BBHIBBH", 0x45, 0, 20 + size, 0, 64, 6, 0)
    else:
        head = struct.pack(">IHBB", 6 << 28, size, 6, 64)
    return head + b"".join(addresses) + tcp


class Recording:
    """A capture made by hand, of which only headers are kept."""

    def __init__(self, version: int = 4) -> None:
        self._version = version
        self._records: list[bytes] = []
        self.client(SYN, 0, 0, options=bytes(20))
        self.server(SYN | ACK, 0, 1, options=bytes(20))
        self.client(ACK, 1, 1)

    def client(self, flags: int, at: int, acked: int, size: int = 0, **more: bytes) -> None:
        ports = (CLIENT_PORT, SERVER_PORT)
        self._add(ports, (CLIENT_START + at, SERVER_START + acked), flags, size, **more)

    def server(self, flags: int, at: int, acked: int, size: int = 0, **more: bytes) -> None:
        ports = (SERVER_PORT, CLIENT_PORT)
        self._add(ports, (SERVER_START + at, CLIENT_START + acked), flags, size, **more)

    def read(self, directory: Path, *, cut_bytes: int = 0) -> Connection:
        path = directory / "made.pcap"
        data = FILE_HEADER + b"".join(self._records)
        path.write_bytes(data[: len(data) - cut_bytes])
        (connection,) = read_connections(path, mtu_bytes=1500).values()
        return connection

    def _add(
        self,
        ports: tuple[int, int],
        numbers: tuple[int, int],
        flags: int,
        size: int,
        options: bytes = TIMESTAMPS,
    ) -> None:
        offset = (20 + len(options)) // 4 << 4
        fields = (*ports, *(number % 2**32 for number in numbers), offset, flags, 0, 0, 0)
        tcp = struct.pack(">HHIIBBHHH", *fields) + options
        packet = bytes(14) + ip(self._version, tcp, size, is_from_server=ports[0] == SERVER_PORT)
        self._records.append(struct.pack("IIII", 0, 0, len(packet), len(packet) + size) + packet)


@pytest.mark.parametrize(("version", "ip_header_bytes"), [(4, 20), (6, 40)])
def test_headers_and_payload_of_both_directions_are_counted(
    version: int, ip_header_bytes: int, tmp_path: Path
) -> None:
    recording = Recording(version)
    recording.client(ACK, 1, 1, 100)
    recording.server(ACK, 1, 101, 1400)
    recording.server(ACK, 1401, 101, 600)
    recording.client(ACK, 101, 2001)

    connection = recording.read(tmp_path)

    header_bytes = ip_header_bytes + 32
    assert connection.egress.wire_bytes == ip_header_bytes + 40 + 2 * header_bytes + 2000
    assert connection.ingress.wire_bytes == ip_header_bytes + 40 + 3 * header_bytes + 100
    assert (connection.egress.stream_bytes, connection.ingress.stream_bytes) == (2000, 100)
    assert connection.egress.acknowledged_bytes == 2000
    assert connection.egress.retransmitted_bytes == 0
    assert not connection.is_over


def test_bytes_sent_again_count_on_the_wire_but_once_in_the_stream(tmp_path: Path) -> None:
    recording = Recording()
    recording.server(ACK, 1, 1, 1000)
    recording.server(ACK, 1001, 1, 1000)
    recording.server(ACK, 501, 1, 1000)
    recording.server(ACK, 1, 1, 1000)

    egress = recording.read(tmp_path).egress

    assert egress.stream_bytes == 2000
    assert egress.retransmitted_bytes == 2000
    assert egress.wire_bytes == 60 + 4 * 1052


def test_a_super_packet_counts_as_the_segments_that_travel(tmp_path: Path) -> None:
    one, many = Recording(), Recording()
    one.server(ACK, 1, 1, 10_000)
    for start in range(0, 10_000, 1448):
        many.server(ACK, 1 + start, 1, min(1448, 10_000 - start))

    egress = one.read(tmp_path).egress

    assert (egress.packets, egress.wire_bytes) == (8, 60 + 10_000 + 7 * 52)
    assert egress == many.read(tmp_path).egress


def test_a_fin_is_acknowledged_beyond_the_stream(tmp_path: Path) -> None:
    recording = Recording()
    recording.server(ACK | FIN, 1, 1, 50)
    recording.client(ACK | FIN, 1, 52)
    recording.server(ACK, 52, 2)

    connection = recording.read(tmp_path)

    assert connection.egress.acknowledged_bytes == connection.egress.stream_bytes == 50
    assert connection.is_over


def test_a_reset_says_how_far_the_client_had_received(tmp_path: Path) -> None:
    recording = Recording()
    recording.server(ACK, 1, 1, 1000)
    recording.server(ACK, 1001, 1, 1000)
    recording.client(ACK, 1, 1001)
    recording.client(ACK | RST, 1, 2001)

    connection = recording.read(tmp_path)

    assert connection.egress.acknowledged_bytes == 2000
    assert connection.ingress.resets == 1
    assert connection.is_over


def test_a_repeated_syn_ack_is_told_apart(tmp_path: Path) -> None:
    recording = Recording()
    recording.server(SYN | ACK, 0, 1, options=bytes(20))

    egress = recording.read(tmp_path).egress

    assert (egress.syns, egress.wire_bytes, egress.repeated_syn_wire_bytes) == (2, 120, 60)
    assert egress.stream_bytes == 0


def test_a_record_that_is_still_being_written_is_left_for_later(tmp_path: Path) -> None:
    recording = Recording()
    recording.server(ACK, 1, 1, 1000)

    assert recording.read(tmp_path, cut_bytes=1).egress.stream_bytes == 0
    assert recording.read(tmp_path).egress.stream_bytes == 1000


def test_what_is_no_capture_of_whole_connections_is_refused(tmp_path: Path) -> None:
    recording = Recording()
    recording._records = recording._records[1:]
    with pytest.raises(ValueError, match="a packet of no connection"):
        recording.read(tmp_path)
    (tmp_path / "made.pcap").write_bytes(bytes(24))
    with pytest.raises(ValueError, match="not a pcap file of Ethernet"):
        read_connections(tmp_path / "made.pcap", mtu_bytes=1500)


def test_what_an_earlier_connection_repeats_is_left_out(tmp_path: Path) -> None:
    recording = Recording()
    recording._records = recording._records[1:]
    (tmp_path / "made.pcap").write_bytes(FILE_HEADER + b"".join(recording._records))
    assert read_connections(tmp_path / "made.pcap", mtu_bytes=1500, earlier={CLIENT_PORT}) == {}


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20))))
def test_coverage_counts_each_byte_once_in_any_order(spans: list[tuple[int, int]]) -> None:
    coverage, seen = Coverage(), set[int]()
    for start, size in spans:
        span = set(range(start, start + size))
        assert coverage.add(start, start + size) == len(span - seen)
        seen |= span
    assert coverage.total_bytes == len(seen)
