"""Lines of a log and announcements of the kernel, joined: how much of each response arrived.

nginx logs what it handed to the kernel. The next line of a connection proves that the response
before it arrived, since a client asks again when it has the answer; for the last one the kernel's
announcement says how much of the connection's stream the client's kernel has.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from streamgauge.core.clock import NS_PER_S
from streamgauge.core.limits import ENDS_KEPT_MAX, NGINX_QUIET_S_MAX
from streamgauge.streams.kernel.tcp_info import NOTHING, TcpInfo, Traffic, between, header_bytes
from streamgauge.streams.layers import How
from streamgauge.streams.model import (
    HANDSHAKE_BYTES,
    RECORD_OVERHEAD_BYTES_MIN,
    record_overhead_bytes,
    wire_bytes,
)
from streamgauge.streams.nginx.lines import Ends, Line
from streamgauge.streams.nginx.tail import Place

_BY_LOG: Final = ("payload", "http")
_TIMESTAMPS: Final = 1


class Sent(NamedTuple):
    """A response, and what is billed of it.

    Attributes:
        line: What the log says.
        place: Where it stands in the log.
        bytes: Of the layer that is billed.
        how: How they were obtained.
    """

    line: Line
    place: Place
    bytes: int
    how: How


class Joining:
    """Holds what is not proved yet.

    Args:
        layer: Which bytes are billed.
        exists: Says whether the kernel still has the connection of a line.
        settle_ns: How long after a connection's end its lines may still come.
        quiet_ns: How long after its last line a connection of which no end was announced is looked
            for in the kernel.
        keep_ns: How long an end waits for lines.

    Attributes:
        ends_lost: Announcements dropped since too many waited for lines.
    """

    def __init__(
        self,
        layer: str,
        exists: Callable[[Line], bool],
        *,
        settle_ns: int = 5 * NS_PER_S,
        quiet_ns: int = 30 * NS_PER_S,
        keep_ns: int = 300 * NS_PER_S,
    ) -> None:
        self._layer = layer
        self._exists = exists
        self._settle_ns = settle_ns
        self._quiet_ns = quiet_ns
        self._keep_ns = keep_ns
        self._served: dict[tuple[int, Ends], _Served] = {}
        self._ends: dict[Ends, deque[tuple[int, TcpInfo]]] = defaultdict(deque)
        self._ends_count = 0
        self.ends_lost = 0

    @property
    def waiting(self) -> int:
        """Return how many responses are not proved yet."""
        return sum(len(one.waiting) for one in self._served.values())

    def oldest(self) -> Place | None:
        """Return where the first line stands that is not proved; None: all are."""
        return min(
            (one.waiting[0][1] for one in self._served.values() if one.waiting), default=None
        )

    def logged(self, line: Line) -> int:
        """Return the bytes that nginx claims of a response; 0 at layers that it does not see."""
        return {"payload": line.body, "http": line.sent}.get(self._layer, 0)

    def add(self, line: Line, place: Place, now_ns: int) -> Iterator[Sent]:
        """Take a line, and yield what it proves."""
        ends = line.ends
        if ends is None or not line.in_order:
            # Streams of HTTP/2 share a connection, and a Unix socket has no counters.
            yield Sent(line, place, _by_log(self._layer, line, ends), How.ESTIMATED)
            return
        served = self._served.setdefault((line.connection, ends), _Served(ends))
        served.looked_ns = served.added_ns = now_ns
        if self._layer in _BY_LOG:
            yield from served.proved(self._layer)
        served.add(line, place)

    def end(self, ends: Ends, info: TcpInfo, now_ns: int) -> None:
        """Take the announcement of a connection's end."""
        if self._ends_count >= ENDS_KEPT_MAX:
            self.ends_lost += 1
            return
        self._ends_count += 1
        self._ends[ends].append((now_ns, info))

    def settle(self, now_ns: int) -> Iterator[Sent]:
        """Yield what is known by now of connections that are over."""
        for key, served in [*self._served.items()]:
            info, is_over = self._end_of(served, now_ns)
            if is_over:
                del self._served[key]
                yield from served.over(self._layer, info)
        for ends, kept in [*self._ends.items()]:
            while kept and now_ns - kept[0][0] > self._keep_ns:
                kept.popleft()
                self._ends_count -= 1
            if not kept:
                del self._ends[ends]

    def _end_of(self, served: _Served, now_ns: int) -> tuple[TcpInfo | None, bool]:
        """Return the last word on a connection, and whether it is over."""
        kept = self._ends.get(served.ends, ())
        last = served.waiting[-1][0]
        for end in kept:
            # One of the same two ends may have been before it, and one may come after.
            if end[0] >= last.at_ns:
                if now_ns - end[0] < self._settle_ns:
                    return None, False
                self._ends[served.ends].remove(end)
                self._ends_count -= 1
                return end[1], True
        if now_ns - served.looked_ns < self._quiet_ns:
            return None, False
        served.looked_ns = now_ns
        is_quiet = now_ns - served.added_ns >= NGINX_QUIET_S_MAX * NS_PER_S
        return None, is_quiet or not self._exists(last)


class _Served:
    """A connection, and those of its responses that are not proved yet."""

    def __init__(self, ends: Ends) -> None:
        self.ends = ends
        self.waiting: list[tuple[Line, Place]] = []
        self.looked_ns = self.added_ns = 0
        self._is_whole = True
        self._last = 0
        self._before = 0

    def add(self, line: Line, place: Place) -> None:
        """Take a line of it."""
        self._is_whole = self._is_whole and line.number == self._last + 1
        self._last = line.number
        self.waiting.append((line, place))

    def proved(self, layer: str) -> Iterator[Sent]:
        """Yield what a further line proves: everything before it."""
        for line, place in self.waiting:
            self._before += line.sent
            yield Sent(line, place, _by_log(layer, line, self.ends), How.MEASURED)
        self.waiting.clear()

    def over(self, layer: str, info: TcpInfo | None) -> Iterator[Sent]:
        """Yield all that is left, at the end of the connection."""
        traffic = between(NOTHING, info, self.ends.ip_bytes) if info is not None else None
        if traffic is None or not self._is_whole:
            # Without the lines before, nobody knows where in the stream these are.
            for line, place in self.waiting:
                yield Sent(line, place, _by_log(layer, line, self.ends), How.ESTIMATED)
        elif layer in _BY_LOG:
            yield from self._arrived(layer, traffic)
        else:
            yield from self._shares(_carried(layer, traffic))

    def _arrived(self, layer: str, traffic: Traffic) -> Iterator[Sent]:
        is_tls = bool(self.waiting[-1][0].tls)
        through = self._before + sum(line.sent for line, _ in self.waiting)
        least = through + record_overhead_bytes(through, RECORD_OVERHEAD_BYTES_MIN) * is_tls
        arrived = traffic.arrived
        if arrived >= least:
            arrived = through
        elif is_tls:
            inside = max(arrived - HANDSHAKE_BYTES, 0)
            arrived = inside - record_overhead_bytes(inside)
        start = self._before
        for line, place in self.waiting:
            size = min(max(arrived - start, 0), line.sent)
            start += line.sent
            how = How.MEASURED
            if size < line.sent:
                how = How.ESTIMATED if is_tls else How.COMPUTED
            if layer == "payload":
                size = max(size - (line.sent - line.body), 0)
            yield Sent(line, place, size, how)

    def _shares(self, carried: int) -> Iterator[Sent]:
        """Share what the connection carried, to the byte, in proportion to what was handed over."""
        whole = sum(line.sent for line, _ in self.waiting)
        is_ones = len({line.bill for line, _ in self.waiting}) == 1
        handed = given = 0
        for number, (line, place) in enumerate(self.waiting, 1):
            handed += line.sent
            is_last = number == len(self.waiting)
            until = carried if is_last or not whole else carried * handed // whole
            yield Sent(line, place, until - given, How.MEASURED if is_ones else How.ESTIMATED)
            given = until


def _carried(layer: str, traffic: Traffic) -> int:
    if layer == "tls":
        return traffic.arrived
    return traffic.wire_out - (traffic.retransmitted if layer == "wire_once" else 0)


def _by_log(layer: str, line: Line, ends: Ends | None) -> int:
    """Return a layer's bytes as far as the log tells."""
    if layer == "payload":
        return line.body
    stream = line.sent
    if layer != "http" and line.tls:
        stream += record_overhead_bytes(stream) + HANDSHAKE_BYTES * (line.number == 1)
    if layer in (*_BY_LOG, "tls") or ends is None:
        return stream
    return wire_bytes(stream, header_bytes(ends.ip_bytes, _TIMESTAMPS))
