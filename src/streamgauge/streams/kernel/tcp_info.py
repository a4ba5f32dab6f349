"""``TCP_INFO``: a connection's counters, as the kernel keeps them.

Layout: ``struct tcp_info`` of Linux' ``include/uapi/linux/tcp.h``, native byte order. Kernels
before 4.19 end it before ``tcpi_bytes_sent`` and are treated as not having it.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple, Protocol

INFO_BYTES: Final = 232
SO_COOKIE: Final = 57

# state@0, options@5, snd_mss@16, unacked@24, bytes_acked@120, bytes_received, segs_out, segs_in,
# notsent_bytes, bytes_sent@200, bytes_retrans.
_LAYOUT: Final = struct.Struct("=B4xB10xI4xI92xQQIII52xQQ")
# ca_state@1, retransmits@2, last_ack_recv@56, delivery_rate@160, busy_time, rwnd_limited.
_PACE: Final = struct.Struct("=xBB53xI100xQQQ")
_WITH_HOLES: Final = frozenset({1, 3, 4})  # TCP_CA_Disorder, TCP_CA_Recovery, TCP_CA_Loss
_COOKIE: Final = struct.Struct("=Q")
_TIMESTAMPS: Final = 1
_BEFORE_FIN: Final = frozenset({1, 8})  # TCP_ESTABLISHED, TCP_CLOSE_WAIT
_AFTER_FIN: Final = frozenset({4, 5, 6, 9, 11})  # TCP_FIN_WAIT1 and 2, and those that follow
_CLOSED: Final = 7  # TCP_CLOSE
_SEGMENTS: Final = 1 << 32
_MS_PER_S: Final = 1_000
_US_PER_S: Final = 1_000_000
_DELAYED_ACK_MS: Final = 40  # TCP_DELACK_MIN, after which a peer that does not read acknowledges
IPV4_BYTES: Final = 20
IPV6_BYTES: Final = 40
_TCP_BYTES: Final = 20
_TIMESTAMP_BYTES: Final = 12
# Options of a SYN-ACK: MSS 4, SACK permitted 2 (in a pad of 4), window scale 3 with a pad of 1,
# and timestamps 10, whose place the SACK option shares.
_SYN_ACK_OPTIONS: Final = {True: 20, False: 12}


class Readable(Protocol):
    """A socket, or what an event loop shows of one."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Return a socket option."""
        ...


class TcpInfo(NamedTuple):
    """A moment of a connection; bytes and segments since its beginning.

    Attributes:
        state: By ``TCP_ESTABLISHED`` and its neighbours in ``include/net/tcp_states.h``.
        options: Bit 0: timestamps.
        mss: Bytes of data in a full segment.
        unacked: Segments sent and not acknowledged.
        acked: Bytes acknowledged by the peer; an acknowledged FIN counts one, and so does the SYN
            of a connection that we opened.
        received: Bytes received in order; the peer's FIN counts one.
        segs_out: Segments sent, without the SYN-ACK; 32 bits that wrap.
        segs_in: Segments received; 32 bits that wrap.
        notsent: Bytes in the send buffer that were never sent.
        sent: Bytes sent, retransmissions included.
        retrans: Bytes sent again.
        dropped: Bytes that a queue of this host refused, by which ``sent`` was too high.
        presumed: Bytes of ``acked`` that the peer had no time to acknowledge.
        is_ahead: Whether this moment has yet to come (see ``ahead``).
    """

    state: int
    options: int
    mss: int
    unacked: int
    acked: int
    received: int
    segs_out: int
    segs_in: int
    notsent: int
    sent: int
    retrans: int
    dropped: int = 0
    presumed: int = 0
    is_ahead: bool = False

    @property
    def arrived(self) -> int:
        """Return the bytes of the stream that the peer's kernel has; no FIN among them."""
        return min(self.acked, self.sent - self.retrans)

    @property
    def counts_syn(self) -> bool:
        """Return whether ``acked`` shows that we opened the connection: no FIN is out yet."""
        return self.state in _BEFORE_FIN and self.acked > self.sent - self.retrans

    def before_segment(self, size: int) -> TcpInfo:
        """Return the moment before the last segment, of ``size`` bytes, was sent."""
        sent = self.sent - size
        return self._replace(
            sent=sent,
            acked=min(self.acked, sent - self.retrans),
            segs_out=(self.segs_out - 1) % _SEGMENTS,
        )

    def ahead(self, size: int) -> TcpInfo:
        """Return the moment when ``size`` more bytes will have arrived, all sent just once."""
        end = self.arrived + size
        unsent = end - (self.sent - self.retrans)
        return self._replace(
            acked=end,
            sent=end + self.retrans,
            segs_out=(self.segs_out + -(-unsent // max(self.mss, 1))) % _SEGMENTS,
            notsent=max(self.notsent - unsent, 0),
            is_ahead=True,
        )


class Pace(NamedTuple):
    """How a connection got on.

    Attributes:
        recovery: Whether segments are missing, by ``enum tcp_ca_state``.
        timeouts: Retransmissions after time-outs, since anything was acknowledged.
        silence_ms: Milliseconds since the last acknowledgement.
        rate: Bytes a second that were acknowledged lately.
        busy_us: Microseconds in which there was something to send.
        window_closed_us: How many of these the peer had no room.
    """

    recovery: int
    timeouts: int
    silence_ms: int
    rate: int
    busy_us: int
    window_closed_us: int


NOTHING: Final = TcpInfo(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


class Traffic(NamedTuple):
    """What a connection carried between two moments.

    Attributes:
        arrived: Bytes of our stream that reached the peer's kernel.
        received: Bytes of the peer's stream that reached ours.
        wire_out: Bytes of IP packets sent.
        wire_in: Bytes of IP packets received.
        retransmitted: Bytes of our stream that were sent again, without headers.
        dropped: Bytes that this host itself refused to send; the others leave them out.
        presumed: Bytes of ``arrived`` that nobody acknowledged.
        is_split: Whether either moment was reckoned ahead.
    """

    arrived: int
    received: int
    wire_out: int
    wire_in: int
    retransmitted: int
    dropped: int = 0
    presumed: int = 0
    is_split: bool = False

    def without(self, others: int) -> Traffic:
        """Return it without so many bytes that arrived, and their share of what was on the wire."""
        own = self.arrived - others
        return self._replace(
            arrived=own,
            wire_out=self.wire_out * own // self.arrived,
            retransmitted=self.retransmitted * own // self.arrived,
        )


def parse(data: bytes, *, queued: int | None = None) -> TcpInfo | None:
    """Return what the kernel said; None: it is too old to count bytes sent.

    Args:
        data: ``struct tcp_info``.
        queued: Bytes that were written and are not acknowledged, a FIN counting one, if known.
    """
    if len(data) < _LAYOUT.size:
        return None
    info = TcpInfo(*_LAYOUT.unpack_from(data))
    if queued is not None:
        under_way = queued - info.notsent
    elif info.state != _CLOSED:
        under_way = info.unacked * info.mss
    else:
        return info
    info = without_local_drops(info, under_way)
    if info.state == _CLOSED and under_way > 0:
        return with_presumed(info, under_way, Pace(*_PACE.unpack_from(data)))
    return info


def without_local_drops(info: TcpInfo, under_way: int) -> TcpInfo:
    """Return counters without segments that a queue of this host refused to send.

    The kernel counts a segment as sent before it hands it to the queue, and again when it tries
    again, as no retransmission. So more was sent than was acknowledged and is under way.

    Args:
        info: The counters.
        under_way: Bytes that were sent and are not acknowledged, or more than these; a FIN counts
            one.
    """
    dropped = info.sent - info.retrans - info.acked - under_way
    if dropped <= 0 or not info.mss:
        return info
    # A connection that ended with everything acknowledged ended with our FIN.
    if info.state in _AFTER_FIN or (info.state == _CLOSED and not under_way):
        dropped += 1
    segments = -(-dropped // info.mss)
    return info._replace(
        sent=info.sent - dropped,
        segs_out=(info.segs_out - segments) % _SEGMENTS,
        dropped=dropped,
    )


def with_presumed(info: TcpInfo, under_way: int, pace: Pace) -> TcpInfo:
    """Return the last counters of a connection that the peer has reset, with what it had taken.

    A reset acknowledges nothing, as Linux reads it, and a peer that does not read acknowledges
    late. Until then, what was under way went on arriving at the link's rate. Of two rates the
    higher one is nearer to it: the latest sinks when acknowledgements are late, and the mean
    when the peer's window was closed.

    Args:
        info: The counters.
        under_way: Bytes that were sent and are not acknowledged.
        pace: How fast bytes had been acknowledged.
    """
    if pace.timeouts or pace.recovery in _WITH_HOLES:
        return info
    mean = info.acked * _US_PER_S // max(pace.busy_us - pace.window_closed_us, 1)
    rate = max(pace.rate, mean)
    # A silence of 0 is one below a tick of the kernel's clock, of up to 10 ms.
    silence_ms = min(max(pace.silence_ms, 1), _DELAYED_ACK_MS)
    presumed = rate * silence_ms // _MS_PER_S
    presumed = max(min(presumed, under_way, info.sent - info.retrans - info.acked), 0)
    return info._replace(acked=info.acked + presumed, presumed=presumed)


def read(connection: Readable) -> TcpInfo | None:
    """Return a connection's counters; None: they cannot be read, or not any more."""
    try:
        return parse(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_BYTES))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def cookie(connection: Readable) -> int | None:
    """Return the kernel's own name of a socket, which is never used again; None: it has none."""
    try:
        (name,) = _COOKIE.unpack(connection.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))
    except (OSError, ValueError, TypeError, AttributeError, struct.error):
        return None
    assert isinstance(name, int)
    return name


def header_bytes(ip_bytes: int, options: int) -> int:
    """Return the bytes of IP and TCP headers of a segment without SACK blocks."""
    return ip_bytes + _TCP_BYTES + (_TIMESTAMP_BYTES if options & _TIMESTAMPS else 0)


def syn_ack_bytes(ip_bytes: int, options: int) -> int:
    """Return the bytes of a SYN-ACK, which no counter has."""
    return ip_bytes + _TCP_BYTES + _SYN_ACK_OPTIONS[bool(options & _TIMESTAMPS)]


def between(before: TcpInfo, after: TcpInfo, ip_bytes: int, *, is_ours: bool = False) -> Traffic:
    """Return what was carried from ``before``, which may be ``NOTHING``, to ``after``.

    On the wire are the bytes sent, which include retransmissions, and a header per segment. The
    peer's SYN or SYN-ACK is counted as a segment, and so is our SYN if we opened the connection;
    their headers are longer.
    """
    header = header_bytes(ip_bytes, after.options)
    syn = syn_ack_bytes(ip_bytes, after.options) if before is NOTHING else 0
    longer = syn - header if syn else 0
    first = longer if is_ours else syn
    # Of two moments, one that was reckoned ahead may be the later one.
    segs_out = (after.segs_out - before.segs_out + _SEGMENTS // 2) % _SEGMENTS - _SEGMENTS // 2
    segs_in = (after.segs_in - before.segs_in) % _SEGMENTS
    return Traffic(
        arrived=max(after.arrived - before.arrived, 0),
        received=after.received - before.received,
        wire_out=max(after.sent - before.sent + segs_out * header, 0) + first,
        wire_in=after.received - before.received + segs_in * header + longer,
        retransmitted=after.retrans - before.retrans,
        dropped=after.dropped - before.dropped,
        presumed=after.presumed - before.presumed,
        is_split=before.is_ahead or after.is_ahead,
    )
