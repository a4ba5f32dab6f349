"""The connections of a Mosquitto broker on the same host: its log says who, the kernel how much.

Mosquitto writes "New client connected from ADDRESS:PORT as ID" for every client; its sockets are
the kernel's to count: again and again while they live, and once more when they are destroyed.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self

import msgspec

from streamgauge.core.clock import NS_PER_S, Clock, SystemClock
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.limits import ENDS_KEPT_MAX, PAYER_RETRY_S
from streamgauge.sdk.ingestion import Ingestion
from streamgauge.sdk.session import StreamSession
from streamgauge.streams.kernel.netlink import Destroyed, living
from streamgauge.streams.kernel.tcp_info import NOTHING, TcpInfo, between
from streamgauge.streams.kernel.watch import Watch
from streamgauge.streams.layers import check_direction
from streamgauge.streams.mqtt.log import BrokerClient, Peer, decode_line
from streamgauge.streams.nginx.lines import Ends, plain_address
from streamgauge.streams.payers import Complaints
from streamgauge.streams.sockets.poll import Poll

_LAYERS: Final = ("tls", "wire", "wire_once")
# How long a connection that is over waits for its line: logs are written at once, or once a second.
_WAIT_NS: Final = 10 * NS_PER_S
# A line whose connection is in none of so many looks is history.
_LOOKS_MAX: Final = 2


class BrokerStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker's connections had so far.

    Attributes:
        connections: Connections that live.
        billed_bytes: Bytes that were counted for a customer.
        unattributed_bytes: Bytes of connections that nobody pays for, or that no line names.
        lost_ends: Connections whose end was not announced; they have their last look's figures.
        hears_kernel: Whether ends are announced.
    """

    connections: int
    billed_bytes: int
    unattributed_bytes: int
    lost_ends: int
    hears_kernel: bool


class MosquittoMeter:
    """Bills the connections of a Mosquitto broker to its clients.

    Give it every line of the broker's log. It works unprivileged, in the broker's network
    namespace. Of connections that are older than the meter, what came before it is not billed.

    Args:
        ingestion: Where to.
        customer: Says who pays for a client; None: nobody.
        ports: Where the broker listens.
        metadata: Says what the bytes of a client are.
        layer: Which bytes are billed: ``tls`` (the connection's stream), ``wire`` or ``wire_once``.
        direction: ``egress``, from the broker to its clients, or ``ingress``.
        poll_interval_s: How often living connections are looked at; a divisor of 60.
        clock: Says when windows end.

    Raises:
        InvalidInputError: A value breaks a rule.
    """

    def __init__(
        self,
        ingestion: Ingestion,
        *,
        customer: Callable[[BrokerClient], str | None],
        ports: Iterable[int] = (1883,),
        metadata: Callable[[BrokerClient], Mapping[str, object]] | None = None,
        layer: str = "wire",
        direction: str = "egress",
        poll_interval_s: int = 10,
        clock: Clock | None = None,
    ) -> None:
        if layer not in _LAYERS:
            raise InvalidInputError("layer", layer, f"be one of {', '.join(_LAYERS)}")
        self._ingestion = ingestion
        self._customer = customer
        self._metadata = metadata
        self._layer = layer
        self._sends = check_direction(direction) == "egress"
        self._ports = tuple(ports)
        self._clock = clock or SystemClock()
        self._poll = Poll(self.poll, poll_interval_s, self._clock)
        self._complaints = Complaints(self._clock)
        self._lock = threading.Lock()
        self._named: defaultdict[Peer, deque[tuple[int, BrokerClient]]] = defaultdict(deque)
        self._known: dict[int, _Connection] = {}
        self._heard: deque[Destroyed] = deque()
        self._billed = self._unattributed = self._lost = self._looks = 0
        self._watch = Watch(self._hear, self._look)
        for port in self._ports:
            self._watch.listen(port)
        for one in self._living():
            self._known[one.cookie] = _Connection(one, one.info)
        self._pid = os.getpid()
        self._poll.start()
        atexit.register(self.close)

    def feed(self, line: str) -> None:
        """Take a line of the broker's log; others than those of new clients are passed over."""
        found = decode_line(line)
        if found is None:
            return
        peer, client = found
        with self._lock:
            # Every client that connects from there has a line, in the order of connections.
            self._named[peer].append((self._looks, client))
            while len(self._named) > ENDS_KEPT_MAX:
                del self._named[next(iter(self._named))]

    def poll(self) -> None:
        """Look at every connection now; a thread of its own does, at intervals."""
        if os.getpid() != self._pid:
            # The parent of a forked process bills.
            return
        with self._lock:
            self._looks += 1
            living = self._living()
            for one in living:
                self._meet(one)
            self._end({one.cookie for one in living})
            for known in self._known.values():
                self._bill(known)
            self._forget()

    def stats(self) -> BrokerStats:
        """Return what was billed so far."""
        with self._lock:
            return BrokerStats(
                connections=sum(one.over_at_ns is None for one in self._known.values()),
                billed_bytes=self._billed,
                unattributed_bytes=self._unattributed,
                lost_ends=self._lost,
                hears_kernel=self._watch.listening,
            )

    @property
    def failures(self) -> int:
        """Return how often ``customer`` or ``metadata`` failed; those bytes are nobody's."""
        return self._complaints.count

    def close(self) -> None:
        """Look once more, and stop; before the ingestion is closed. Twice is once."""
        atexit.unregister(self.close)
        self._poll.close()
        self.poll()
        with self._lock:
            for known in self._known.values():
                self._leave(known)
            self._known.clear()
        self._watch.close()

    def _living(self) -> list[Destroyed]:
        return [one for port in self._ports for one in living(port)]

    def _end(self, living: set[int]) -> None:
        """Take the announced ends, and drop what is over and billed."""
        now_ns = self._clock.monotonic_ns()
        while self._heard:
            self._meet(self._heard.popleft()).over_at_ns = now_ns
        for cookie, known in [*self._known.items()]:
            if known.over_at_ns is None and cookie not in living:
                # Its announcement is on its way, or lost.
                known.missed += 1
                if known.missed > self._watch.listening:
                    self._lost += 1
                    known.over_at_ns = now_ns
            if known.over_at_ns is not None and (
                self._bill(known) or now_ns - known.over_at_ns >= _WAIT_NS
            ):
                self._leave(known)
                del self._known[cookie]

    def _bill(self, known: _Connection) -> bool:
        """Bill what a connection has carried since; return whether anybody is known to pay."""
        if not known.is_named:
            lines = self._named.get(known.peer)
            if not lines:
                return False
            # A connection that is older than the meter has the last of the lines before it.
            _, client = lines.popleft() if known.start is NOTHING else lines.pop()
            if not lines or known.start is not NOTHING:
                del self._named[known.peer]
            known.is_named = True
            self._open(known, client)
        elif known.ask is not None and self._clock.monotonic_ns() >= known.ask[0]:
            self._open(known, known.ask[1])
        if known.session is not None:
            size = known.carried(self._layer, sends=self._sends) - known.billed
            if size > 0:
                known.session.add(size)
                known.billed += size
                self._billed += size
        return known.ask is None

    def _meet(self, one: Destroyed) -> _Connection:
        known = self._known.get(one.cookie)
        if known is None:
            known = self._known[one.cookie] = _Connection(one, NOTHING)
        known.info = one.info
        return known

    def _hear(self, gone: Destroyed) -> None:
        if len(self._heard) >= ENDS_KEPT_MAX:
            self._lost += 1
        else:
            self._heard.append(gone)

    def _forget(self) -> None:
        """Drop lines that are history: an address is used again, and must not find them."""
        for peer, lines in [*self._named.items()]:
            while lines and self._looks - lines[0][0] >= _LOOKS_MAX:
                lines.popleft()
            if not lines:
                del self._named[peer]

    def _leave(self, known: _Connection) -> None:
        if known.session is not None:
            known.session.close()
        self._unattributed += max(known.carried(self._layer, sends=self._sends) - known.billed, 0)

    def _open(self, known: _Connection, client: BrokerClient) -> None:
        known.ask = None
        try:
            customer_id = self._customer(client)
            if customer_id is not None:
                metadata = self._metadata(client) if self._metadata is not None else None
                known.session = self._ingestion.session(customer_id=customer_id, metadata=metadata)
        except Exception as error:  # noqa: BLE001 - the caller's functions; others are billed
            self._complaints.add("customer= or metadata= failed for a client of MQTT", error)
            known.ask = (self._clock.monotonic_ns() + PAYER_RETRY_S * NS_PER_S, client)

    def _look(self, *, lost: bool) -> None:
        """Leave it to the next poll, which misses connections that are gone."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Connection:
    """A connection of the broker."""

    __slots__ = ("ask", "billed", "info", "ip_bytes", "is_named", "missed", "over_at_ns", "peer",
                 "session", "start")  # fmt: skip

    def __init__(self, one: Destroyed, start: TcpInfo) -> None:
        ends = Ends(one.port, plain_address(one.peer_address), one.peer_port)
        self.peer: Peer = (ends.peer, ends.peer_port)
        self.ip_bytes = ends.ip_bytes
        self.start = start
        self.info = one.info
        self.session: StreamSession | None = None
        self.is_named = False
        # When to ask again who pays, after that failed.
        self.ask: tuple[int, BrokerClient] | None = None
        self.billed = 0
        self.missed = 0
        self.over_at_ns: int | None = None

    def carried(self, layer: str, *, sends: bool) -> int:
        """Return what it has carried of a layer."""
        traffic = between(self.start, self.info, self.ip_bytes)
        if layer == "tls":
            return traffic.arrived if sends else traffic.received
        if not sends:
            return traffic.wire_in
        return traffic.wire_out - (traffic.retransmitted if layer == "wire_once" else 0)
