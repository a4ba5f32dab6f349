"""From what was handed over and what the kernel says, to a figure for every layer.

On plain TCP the stream is the HTTP, so the kernel's count is exact for both. Under TLS the kernel
counts records, and HTTP follows from what was handed over. A response that did not arrive whole
has as much payload as fits behind its head in the bytes that arrived.
"""

from __future__ import annotations

import msgspec

from streamgauge.streams.kernel.frames import Carried
from streamgauge.streams.kernel.tcp_info import IPV4_BYTES, Traffic, header_bytes
from streamgauge.streams.layers import How, Reading
from streamgauge.streams.model import (
    ALERT_BYTES,
    HANDSHAKE_BYTES,
    PING_BYTES,
    RECORD_BYTES_MAX,
    RECORD_OVERHEAD_BYTES,
    RECORD_OVERHEAD_BYTES_MIN,
    RECORD_OVERHEADS_BYTES,
    record_overhead_bytes,
    websocket_bytes,
    wire_bytes,
)
from streamgauge.streams.websockets import Around


class Handed:
    """What was handed over around the payload.

    Attributes:
        head: Bytes of the head.
        framing: Bytes around chunks or messages.
        is_modelled: Whether head and framing are known, byte for byte.
        is_framed: Whether framing stands between parts of the payload.
        is_tls: Whether the server encrypts.
        may_shrink: Whether payload may take fewer bytes than it has, by compression.
        records: Records that TLS makes of what was handed over, if these are counted.
    """

    __slots__ = ("framing", "head", "is_framed", "is_modelled", "is_tls", "may_shrink", "records")

    def __init__(self) -> None:
        self.head = 0
        self.framing = 0
        self.is_modelled = False
        self.is_framed = False
        self.is_tls = False
        self.may_shrink = False
        self.records = 0

    def add_message(self, size: int) -> None:
        """Note a message of a WebSocket, which is written by itself."""
        framing = websocket_bytes(size)
        self.framing += framing
        self.records += -(-(size + framing) // RECORD_BYTES_MAX)

    def add_around(self, around: Around | None) -> None:
        """Note what the server wrote beside messages, if that is known."""
        if around is not None:
            self.head = around.size
            self.records += around.writes
            self.is_modelled = True

    def http_bytes(self, payload: int) -> int:
        """Return the bytes of HTTP of so much payload."""
        return self.head + payload + self.framing

    def stream_bytes(self, payload: int) -> int:
        """Return the least bytes that so much payload takes on the connection."""
        http = self.http_bytes(payload)
        return http + (record_overhead_bytes(http, RECORD_OVERHEAD_BYTES_MIN) if self.is_tls else 0)

    def is_all(self, payload: int, arrived: int, accepted: int) -> bool:
        """Return whether everything arrived.

        Args:
            payload: Bytes of payload that were handed over.
            arrived: Bytes of the connection's stream that arrived.
            accepted: Bytes of it that the kernel took from the server.
        """
        if self.is_modelled:
            return arrived >= self.stream_bytes(payload)
        return arrived >= max(accepted, payload)

    def foreign_bytes(self, payload: int, arrived: int) -> int:
        """Return how many of the bytes that arrived cannot be of this response.

        Only a response has an end that is known, by its head; without TLS it is known to the byte.
        """
        if not self.head or not self.is_modelled or self.is_tls or self.may_shrink:
            return 0
        return max(arrived - self.http_bytes(payload), 0)

    def payload_of(self, payload: int, arrived: int, accepted: int) -> int:
        """Return how much of ``payload`` is in the bytes that arrived; see ``is_all``."""
        if not self.is_modelled:
            if not accepted:
                return 0
            # In proportion to what the kernel took; what waits in the server is left out.
            share = min(payload * arrived // accepted, payload)
            return share if self.may_shrink else min(share, arrived)
        http = self.http_bytes(payload)
        if self.is_tls:
            whole = http + record_overhead_bytes(http)
            arrived = arrived * http // whole if whole else 0
        body = max(arrived - self.head, 0)
        if self.framing and payload:
            body = body * payload // (payload + self.framing)
        return min(body, payload)


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """A figure for every layer (see ``Measured``)."""

    payload: Reading
    http: Reading
    tls: Reading
    wire: Reading
    wire_once: Reading
    is_complete: bool

    def of(self, layer: str) -> Reading:
        """Return the reading of a layer by name."""
        reading: Reading = getattr(self, layer)
        return reading


def read_sent(
    handed: Handed,
    payload: int,
    traffic: Traffic,
    *,
    arrived: int,
    is_complete: bool,
    final: bool,
    certain: bool,
) -> Readings:
    """Return what the kernel says of a stream that was sent.

    Args:
        handed: What was handed over around the payload.
        payload: How much of the payload arrived.
        traffic: What the connection carried.
        arrived: Bytes of its stream since the exchange's first; a handshake came before.
        is_complete: Whether everything arrived.
        final: Whether nothing more will come.
        certain: Whether ``traffic`` is the kernel's last word, or up to date.
    """
    is_whole = certain and not traffic.is_split
    below = How.MEASURED if is_whole and not traffic.presumed else How.ESTIMATED
    on_wire = How.MEASURED if is_whole and not traffic.dropped else How.ESTIMATED
    how_payload = How.MEASURED if is_complete else How.ESTIMATED
    if not is_complete and handed.is_modelled and not handed.is_framed and not handed.is_tls:
        how_payload = How.COMPUTED
    if not handed.is_tls:
        http = Reading(traffic.arrived, below, final)
    elif handed.records:
        http = _of_messages(handed, payload, arrived, is_complete=is_complete, final=final)
    elif is_complete and handed.is_modelled:
        http = Reading(handed.http_bytes(payload), How.COMPUTED, final)
    else:
        http = Reading(max(_within_records(arrived), payload), How.ESTIMATED, final)
    return Readings(
        payload=Reading(payload, how_payload, final),
        http=http,
        tls=Reading(traffic.arrived, below, final),
        wire=Reading(traffic.wire_out, on_wire, final),
        wire_once=Reading(traffic.wire_out - traffic.retransmitted, on_wire, final),
        is_complete=is_complete,
    )


def read_shared(
    handed: Handed, payload: int, carried: Carried, *, is_over: bool, final: bool
) -> Readings:
    """Return what is known of a stream that shares its connection with others.

    Its frames are known byte for byte; what the connection added is divided, so only the sum over
    the connection's streams is the kernel's.
    """
    traffic = carried.traffic
    is_complete = (is_over or carried.has_end) and carried.payload >= payload
    tls = Reading(traffic.arrived, How.ESTIMATED, final)
    how = How.COMPUTED if is_complete else How.ESTIMATED
    return Readings(
        payload=Reading(
            min(carried.payload, payload), How.MEASURED if is_complete else How.ESTIMATED, final
        ),
        http=Reading(carried.http, how, final) if handed.is_tls else tls,
        tls=tls,
        wire=Reading(traffic.wire_out, How.ESTIMATED, final),
        wire_once=Reading(traffic.wire_out - traffic.retransmitted, How.ESTIMATED, final),
        is_complete=is_complete,
    )


def at_least(readings: Readings, floor: Readings) -> Readings:
    """Return ``readings`` of a last look that may have come too early, raised to ``floor``."""

    def raised(layer: str) -> Reading:
        return max(readings.of(layer), floor.of(layer), key=lambda reading: reading.bytes)

    return Readings(
        payload=raised("payload"),
        http=raised("http"),
        tls=raised("tls"),
        wire=raised("wire"),
        wire_once=raised("wire_once"),
        is_complete=readings.is_complete,
    )


def read_received(
    handed: Handed, payload: int, traffic: Traffic, *, final: bool, certain: bool
) -> Readings:
    """Return what the kernel says of a stream that was received; all of it arrived."""
    below = How.MEASURED if certain else How.ESTIMATED
    received = traffic.received
    http = Reading(max(_within_records(received), payload), How.ESTIMATED, final)
    return Readings(
        payload=Reading(payload, How.MEASURED, final),
        http=http if handed.is_tls else Reading(received, below, final),
        tls=Reading(received, below, final),
        wire=Reading(traffic.wire_in, below, final),
        # What the peer sent twice is counted when it arrives twice; the kernel keeps no sum.
        wire_once=Reading(traffic.wire_in, How.ESTIMATED, final),
        is_complete=True,
    )


def read_followed(
    handed: Handed, traffic: Traffic, *, direction: str, final: bool, certain: bool
) -> Readings:
    """Return what the kernel says of a stream that nobody else counts; all of it is payload."""
    stream = traffic.arrived if direction == "egress" else traffic.received
    payload = _within_records(stream) if handed.is_tls else stream
    if direction == "egress":
        readings = read_sent(
            handed,
            payload,
            traffic,
            arrived=stream,
            is_complete=True,
            final=final,
            certain=certain,
        )
    else:
        readings = read_received(handed, payload, traffic, final=final, certain=certain)
    how = How.ESTIMATED if handed.is_tls else readings.tls.how
    inside = Reading(payload, how, final)
    return msgspec.structs.replace(readings, payload=inside, http=inside)


def read_computed(handed: Handed, payload: int, *, final: bool) -> Readings:
    """Return what follows from what was handed over, where the kernel cannot be asked."""
    http = handed.http_bytes(payload)
    how = How.COMPUTED if handed.is_modelled else How.ESTIMATED
    records = RECORD_OVERHEAD_BYTES * handed.records or record_overhead_bytes(http)
    tls = http + records + HANDSHAKE_BYTES
    stream = tls if handed.is_tls else http
    wire = Reading(wire_bytes(stream, header_bytes(IPV4_BYTES, 1)), How.ESTIMATED, final)
    return Readings(
        payload=Reading(payload, How.MEASURED, final),
        http=Reading(http, how, final),
        tls=Reading(stream, How.ESTIMATED if handed.is_tls else how, final),
        wire=wire,
        wire_once=wire,
        is_complete=True,
    )


def _of_messages(
    handed: Handed, payload: int, arrived: int, *, is_complete: bool, final: bool
) -> Reading:
    """Return the bytes of a WebSocket without the records that stand around each message."""
    if not (is_complete and handed.is_modelled):
        # Head and last frame are records, too.
        spare = RECORD_OVERHEAD_BYTES * (handed.records + 2)
        return Reading(max(arrived - spare, 0), How.ESTIMATED, final)
    http = handed.http_bytes(payload)
    for each in RECORD_OVERHEADS_BYTES:
        # The kernel has what it should, perhaps with a goodbye.
        if arrived - http - each * handed.records in {0, each + ALERT_BYTES}:
            return Reading(http, How.COMPUTED, final)
    more = max(arrived - http - RECORD_OVERHEAD_BYTES * handed.records, 0)
    pings = more * PING_BYTES // (PING_BYTES + RECORD_OVERHEAD_BYTES)
    return Reading(http + pings, How.ESTIMATED, final)


def _within_records(stream_bytes: int) -> int:
    """Return about how much is inside records of full size."""
    return stream_bytes - record_overhead_bytes(stream_bytes)
