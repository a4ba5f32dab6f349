"""What a capture says of each TCP connection: a small reader of pcap files.

Bytes are counted at the IP level, headers included, as they travel: where the capture holds a
packet larger than the link takes, the one that will be cut into segments, the headers of all of
them are counted.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
_ETHERNET: Final = 1
_ETHERNET_HEADER_BYTES: Final = 14
_TCP: Final = 6
_FILE_HEADER: Final = struct.Struct("IHHiIII")
_RECORD_HEADER: Final = struct.Struct("IIII")
_PORTS_TO_FLAGS: Final = struct.Struct(">HHIIBB")
# Microseconds and nanoseconds, as this machine's byte order writes them.
_MAGICS: Final = frozenset({0xA1B2C3D4, 0xA1B23C4D})


class Packet(NamedTuple):
    """One TCP packet.

    Attributes:
        source, target: Address and port.
        header_bytes: Of IP and TCP, options included.
        payload_bytes: Of TCP.
    """

    source: tuple[bytes, int]
    target: tuple[bytes, int]
    sequence: int
    acknowledgement: int
    flags: int
    header_bytes: int
    payload_bytes: int


class Coverage:
    """Which bytes of a stream have been seen, as disjoint half-open intervals."""

    def __init__(self) -> None:
        self.total_bytes = 0
        self._spans: list[list[int]] = []

    def add(self, start: int, end: int) -> int:
        """Add an interval, and return how many of its bytes are new."""
        before = self.total_bytes
        first = len(self._spans)
        while first and self._spans[first - 1][1] >= start:
            first -= 1
        last = first
        while last < len(self._spans) and self._spans[last][0] <= end:
            span = self._spans[last]
            start, end = min(start, span[0]), max(end, span[1])
            self.total_bytes -= span[1] - span[0]
            last += 1
        self._spans[first:last] = [[start, end]]
        self.total_bytes += end - start
        return self.total_bytes - before


@dataclasses.dataclass
class Flow:
    """One direction of a connection.

    Attributes:
        packets: As they travel.
        wire_bytes: IP and TCP headers and payload of them, SYN and FIN included.
        stream_bytes: Distinct bytes of the TCP stream.
        retransmitted_bytes: Payload beyond those.
        acknowledged_bytes: Distinct bytes of the stream that the other side has acknowledged.
        syns: SYN packets, or SYN-ACK packets, repeats included.
        syn_wire_bytes: Their ``wire_bytes``.
    """

    packets: int = 0
    wire_bytes: int = 0
    stream_bytes: int = 0
    retransmitted_bytes: int = 0
    acknowledged_bytes: int = 0
    syns: int = 0
    syn_wire_bytes: int = 0
    fins: int = 0
    resets: int = 0
    reset_wire_bytes: int = 0
    first_sequence: int | None = None
    fin_offset: int | None = None
    acknowledged_offset: int = 0
    coverage: Coverage = dataclasses.field(default_factory=Coverage, repr=False, compare=False)

    @property
    def repeated_syn_wire_bytes(self) -> int:
        """Of SYN-ACKs after the first: the kernel counts them nowhere."""
        return self.syn_wire_bytes - self.syn_wire_bytes // self.syns if self.syns else 0

    def add(self, packet: Packet, mtu_bytes: int) -> None:
        """Count a packet that was sent in this direction."""
        segment_bytes_max = mtu_bytes - packet.header_bytes
        segments = max(1, -(-packet.payload_bytes // segment_bytes_max))
        wire_bytes = packet.payload_bytes + segments * packet.header_bytes
        self.packets += segments
        self.wire_bytes += wire_bytes
        if packet.flags & SYN:
            self.syns += 1
            self.syn_wire_bytes += wire_bytes
            self.first_sequence = packet.sequence + 1
        if packet.flags & RST:
            self.resets += 1
            self.reset_wire_bytes += wire_bytes
        if self.first_sequence is None:
            raise ValueError("the capture began after the connection")
        start = self._offset(packet.sequence, self.coverage.total_bytes)
        if packet.payload_bytes:
            new_bytes = self.coverage.add(start, start + packet.payload_bytes)
            self.stream_bytes = self.coverage.total_bytes
            self.retransmitted_bytes += packet.payload_bytes - new_bytes
        if packet.flags & FIN:
            self.fins += 1
            self.fin_offset = start + packet.payload_bytes

    def acknowledge(self, packet: Packet) -> None:
        """Note how far a packet of the other direction acknowledges this one."""
        if self.first_sequence is None or not packet.flags & ACK:
            return
        offset = self._offset(packet.acknowledgement, self.acknowledged_offset)
        self.acknowledged_offset = max(self.acknowledged_offset, offset)
        end = self.acknowledged_offset if self.fin_offset is None else self.fin_offset
        self.acknowledged_bytes = min(self.acknowledged_offset, end)

    @property
    def is_fin_acknowledged(self) -> bool:
        return self.fin_offset is not None and self.acknowledged_offset > self.fin_offset

    def _offset(self, sequence: int, near: int) -> int:
        # Sequence numbers are 32 bits wide; of all offsets that it could mean, the nearest.
        assert self.first_sequence is not None
        distance = (sequence - self.first_sequence - near) & 0xFFFFFFFF
        return near + distance - (distance >> 31 << 32)


@dataclasses.dataclass
class Connection:
    """Both directions of one TCP connection, named by the client's address and port."""

    client: tuple[bytes, int]
    server: tuple[bytes, int]
    egress: Flow = dataclasses.field(default_factory=Flow)
    ingress: Flow = dataclasses.field(default_factory=Flow)

    @property
    def is_over(self) -> bool:
        """Return whether both sides have ended it, or one has reset it."""
        flows = (self.egress, self.ingress)
        return any(flow.resets for flow in flows) or all(f.is_fin_acknowledged for f in flows)


def read_connections(
    path: Path, *, mtu_bytes: int, earlier: Collection[int] = ()
) -> dict[int, Connection]:
    """Return the connections of a capture by the client's port, which must not be used twice.

    Args:
        path: The capture.
        mtu_bytes: The link's.
        earlier: Ports of clients whose connections were over before; what they repeat is left out.
    """
    found: dict[int, Connection] = {}
    for packet in read_packets(path.read_bytes()):
        if packet.flags & (SYN | ACK) == SYN and packet.source[1] not in found:
            found[packet.source[1]] = Connection(packet.source, packet.target)
        if (connection := found.get(packet.source[1])) and connection.client == packet.source:
            sent, received = connection.ingress, connection.egress
        elif (connection := found.get(packet.target[1])) and connection.client == packet.target:
            sent, received = connection.egress, connection.ingress
        elif packet.source[1] in earlier or packet.target[1] in earlier:
            continue
        else:
            raise ValueError(f"a packet of no connection: {packet}")
        sent.add(packet, mtu_bytes)
        received.acknowledge(packet)
    return found


def read_packets(capture: bytes) -> Iterator[Packet]:
    """Yield the TCP packets of a pcap file; one whose end is still unwritten is left out."""
    if len(capture) < _FILE_HEADER.size:
        return
    magic, *_, link = _FILE_HEADER.unpack_from(capture)
    if magic not in _MAGICS or link != _ETHERNET:
        raise ValueError(f"not a pcap file of Ethernet: magic {magic:#x}, link {link}")
    at = _FILE_HEADER.size
    while at + _RECORD_HEADER.size <= len(capture):
        _, _, kept_bytes, _ = _RECORD_HEADER.unpack_from(capture, at)
        at += _RECORD_HEADER.size
        if at + kept_bytes > len(capture):
            return
        yield _packet(capture[at + _ETHERNET_HEADER_BYTES : at + kept_bytes])
        at += kept_bytes


def _packet(ip: bytes) -> Packet:
    version = ip[0] >> 4
    if version == 4:
        ip_header_bytes = (ip[0] & 0x0F) * 4
        total_bytes = int.from_bytes(ip[2:4])
        protocol, source, target = ip[9], ip[12:16], ip[16:20]
    else:
        ip_header_bytes = 40
        total_bytes = ip_header_bytes + int.from_bytes(ip[4:6])
        protocol, source, target = ip[6], ip[8:24], ip[24:40]
    if protocol != _TCP or total_bytes == ip_header_bytes:
        raise ValueError(f"not a TCP packet of known length: protocol {protocol}")
    ports_to_flags = _PORTS_TO_FLAGS.unpack_from(ip, ip_header_bytes)
    source_port, target_port, sequence, acknowledgement, offset, flags = ports_to_flags
    header_bytes = ip_header_bytes + (offset >> 4) * 4
    return Packet(
        (source, source_port),
        (target, target_port),
        sequence,
        acknowledgement,
        flags,
        header_bytes,
        total_bytes - header_bytes,
    )
