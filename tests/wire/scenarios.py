"""What clients do on a connection, and how what was measured compares with what travelled."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from tests.wire.bed import SERVER, Bed
from tests.wire.capture import Capture
from tests.wire.client import Client, Link, Response, client_context
from tests.wire.packets import Connection
from tests.wire.server import LAYERS, Measured, Server
from tests.wire.serving import PLAIN_PORT, TLS_PORT

MIB: Final = 1024 * 1024
# Wire bytes are exact to this share where a connection carries enough; the rest is printed.
WIRE_ERROR_PER_MILLION_MAX: Final = 100
WIRE_BYTES_MIN: Final = MIB
# Of a response that arrived whole, where not every byte of its framing is known.
ESTIMATE_ERROR_PER_MILLION_MAX: Final = 100
ABORT_ERROR_PER_CENT_MAX: Final = 5
# Without a limit of the link, all that was sent since the last tick of the kernel's clock has
# arrived, and nobody said so.
ABORT_ERROR_UNLIMITED_PER_CENT_MAX: Final = 25
_PAUSE_S: Final = 0.1


class Scenario(NamedTuple):
    """What a client does on a connection.

    Attributes:
        is_bounded: Errors of wire have a bound, since chunks are of at least 4 KiB and there are
            enough of them.
        mbit: The link's limit.
        drops_at_server: The limit is in the server's own queue, which refuses what is too much.
        is_pipelined: The client asks before it has the last answer.
        requests: How many; some servers take one per connection.
        is_websocket: Some servers have none.
    """

    name: str
    act: Callable[[Client], None]
    is_bounded: bool = True
    mbit: int | None = None
    drops_at_server: bool = False
    is_pipelined: bool = False
    requests: int = 1
    is_websocket: bool = False


def _download(size: int, chunk: int, framing: str = "length") -> Callable[[Client], None]:
    def act(client: Client) -> None:
        client.get(f"/?size={size}&chunk={chunk}&framing={framing}", "ana")
        client.end()

    return act


def _alternate(client: Client) -> None:
    for number in range(6):
        framing = ("length", "chunked")[number % 2]
        target = f"/?size={250_000 + number}&chunk={(4096, 65_536)[number % 3 == 0]}"
        client.get(f"{target}&framing={framing}", ("ana", "ben")[number % 2])
    client.end()


def _ask_for_heads(client: Client) -> None:
    client.get("/?size=10000", "ben")
    client.get("/?size=100000", "ana", method="HEAD")
    client.get("/?status=204", "ben")
    client.get("/?status=304", "ana")
    client.end()


def _hang_up(leave: Callable[[Client], None], *, pause_s: float) -> Callable[[Client], None]:
    def act(client: Client) -> None:
        client.get(f"/?size={100 * MIB}&chunk=65536", "ana", stop_after_bytes=MIB)
        time.sleep(pause_s)
        leave(client)

    return act


def _ask_at_once(client: Client) -> None:
    target = "/?size=300000&chunk=4096"
    client.get_at_once((target, "ana"), (f"{target}&framing=chunked", "ben"), (target, "ana"))
    client.end()


def _chat(client: Client) -> None:
    client.chat(f"/?size={2 * MIB}&chunk=8192", "ana", messages=256)
    client.end()


def _leaving(name: str, leave: Callable[[Client], None], mbit: int | None) -> list[Scenario]:
    """Return who leaves on a link, in the midst of reading and when it had stopped to read."""
    link = f"{mbit} Mbit" if mbit else "no limit"
    return [
        Scenario(f"{name} at 1 MiB, {link}", _hang_up(leave, pause_s=0), mbit=mbit),
        Scenario(f"pauses, {name}, {link}", _hang_up(leave, pause_s=_PAUSE_S), mbit=mbit),
    ]


DOWNLOADING: Final = Scenario("10 MiB, 64 KiB chunks", _download(10 * MIB, 65_536))
ALTERNATING: Final = Scenario("keep-alive, two customers", _alternate, requests=6)
(HANGING_UP, PAUSING) = _leaving("hangs up", Client.drop, 8)
BODYLESS: Final = Scenario("HEAD, 204, 304", _ask_for_heads, is_bounded=False, requests=4)
PIPELINING: Final = Scenario(
    "asks three times at once",
    _ask_at_once,
    is_bounded=False,
    mbit=20,
    is_pipelined=True,
    requests=3,
)
REFUSED: Final = Scenario(
    "4 MiB, own queue refuses", _download(4 * MIB, 65_536), mbit=50, drops_at_server=True
)
CHATTING: Final = Scenario("WebSocket", _chat, is_websocket=True)
SCENARIOS: Final = (
    DOWNLOADING,
    Scenario("4 MiB, 4 KiB chunked", _download(4 * MIB, 4096, "chunked")),
    Scenario("1 MiB, 200 B chunks", _download(MIB, 200), is_bounded=False),
    Scenario("10 KiB", _download(10_240, 4096), is_bounded=False),
    ALTERNATING,
    BODYLESS,
    PIPELINING,
    REFUSED,
    HANGING_UP,
    PAUSING,
    *(one for mbit in (None, 100, 20) for one in _leaving("hangs up", Client.drop, mbit)),
    *_leaving("resets", Client.reset, 20),
    CHATTING,
)


@dataclasses.dataclass(frozen=True)
class Case:
    """A scenario on a kind of connection."""

    scenario: Scenario
    family: socket.AddressFamily
    is_tls: bool
    loss_per_mille: int

    def __str__(self) -> str:
        family = "IPv4" if self.family == socket.AF_INET else "IPv6"
        loss = f"{self.loss_per_mille / 10:g} % loss"
        return f"{self.scenario.name}, {family}, {'TLS' if self.is_tls else 'plain'}, {loss}"


class Row(NamedTuple):
    """One layer of a connection: what was measured, what travelled if that is known."""

    layer: str
    measured_bytes: int
    how: str
    captured_bytes: int | None

    @property
    def error_bytes(self) -> int | None:
        return None if self.captured_bytes is None else self.measured_bytes - self.captured_bytes


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A connection as the server's side, the client and the capture saw it."""

    case: Case
    measured: list[Measured]
    responses: list[Response]
    captured: Connection
    naive_bytes: int

    def total(self, layer: str) -> int:
        return sum(one.layers[layer].bytes for one in self.measured if layer in one.layers)

    def rows(self) -> list[Row]:
        """Return a row per layer that was measured."""
        return [
            Row(
                layer,
                self.total(layer),
                "+".join(sorted({one.layers[layer].how for one in self.measured})),
                self._captured(layer),
            )
            for layer in LAYERS
            if all(layer in one.layers for one in self.measured)
        ]

    @property
    def is_complete(self) -> bool:
        """Return whether all responses arrived whole."""
        return all(response.is_complete for response in self.responses)

    def faults(self) -> list[str]:
        """Return each difference that may not be, as a sentence."""
        return [f"{self.case}: {fault}" for fault in (*self._mismatches(), *self._out_of_bounds())]

    def _captured(self, layer: str) -> int | None:
        egress = self.captured.egress
        if layer in ("payload", "http"):
            if self.is_complete:
                return sum(getattr(response, f"{layer}_bytes") for response in self.responses)
            if self.case.is_tls:
                return None  # What the client has not read, nobody can decrypt.
            framing_bytes = sum(one.http_bytes - one.payload_bytes for one in self.responses)
            return egress.acknowledged_bytes - framing_bytes * (layer == "payload")
        if layer == "tls":
            return egress.acknowledged_bytes
        once_bytes = egress.retransmitted_bytes if layer == "wire_once" else 0
        return egress.wire_bytes - egress.repeated_syn_wire_bytes - once_bytes

    def _mismatches(self) -> Iterable[str]:
        if len(self.measured) != len(self.responses):
            yield f"{len(self.measured)} records of {len(self.responses)} responses"
            return
        for number, (ours, theirs) in enumerate(zip(self.measured, self.responses, strict=True)):
            if ours.customer_id != theirs.customer_id:
                yield f"response {number} of {theirs.customer_id} is {ours.customer_id}'s"
        if len({one.connection for one in self.measured}) != 1:
            yield f"records name several connections: {self.measured}"
        for number, (ours, theirs) in enumerate(zip(self.measured, self.responses, strict=True)):
            if not theirs.is_complete:
                continue
            # The first response carries the handshake too, which the client read before it.
            is_told = number > 0 and not self.case.scenario.is_pipelined
            layers = ("payload", "http", "tls") if is_told else ("payload", "http")
            for layer in layers:
                seen = theirs.stream_bytes if layer == "tls" else getattr(theirs, f"{layer}_bytes")
                if layer not in ours.layers:
                    continue
                reading = ours.layers[layer]
                bound = seen * ESTIMATE_ERROR_PER_MILLION_MAX // 1_000_000
                if abs(reading.bytes - seen) > bound * (reading.how == "estimated"):
                    yield f"{layer} of response {number}: {ours.layers[layer]}, arrived {seen}"

    def _out_of_bounds(self) -> Iterable[str]:
        for row in self.rows():
            if row.captured_bytes is None or row.error_bytes is None:
                continue
            bound = 0
            if row.layer in ("wire", "wire_once"):
                is_bounded = self.case.scenario.is_bounded and row.captured_bytes >= WIRE_BYTES_MIN
                share = WIRE_ERROR_PER_MILLION_MAX if is_bounded else 1_000_000
                bound = row.captured_bytes * share // 1_000_000
            elif not self.is_complete:
                has_limit = self.case.scenario.mbit is not None
                share = (ABORT_ERROR_UNLIMITED_PER_CENT_MAX, ABORT_ERROR_PER_CENT_MAX)[has_limit]
                bound = row.captured_bytes * share // 100
            elif row.layer == "http" and "estimated" in row.how:
                bound = row.captured_bytes * ESTIMATE_ERROR_PER_MILLION_MAX // 1_000_000
            if abs(row.error_bytes) > bound:
                yield f"{row.layer}: {row.measured_bytes}, captured {row.captured_bytes}"


def run(bed: Bed, server: Server, case: Case, capture_path: Path) -> Outcome:
    """Let a client act out ``case``, and return what everybody saw."""
    bed.shape(case.scenario.mbit, at_server=case.scenario.drops_at_server)
    bed.lose(case.loss_per_mille)
    with Capture(bed.server, capture_path) as capture:
        connected = bed.client.socket(case.family)
        connected.connect((SERVER[case.family], TLS_PORT if case.is_tls else PLAIN_PORT))
        client = Client(Link(connected, client_context() if case.is_tls else None))
        case.scenario.act(client)
        measured, naive_bytes = server.take(len(client.responses), port=client.port)
        captured = capture.stop(client.port)
    return Outcome(case, measured, client.responses, captured[client.port], naive_bytes)


def sums(outcomes: Iterable[Outcome], layer: str) -> tuple[Counter[str | None], Counter[int]]:
    """Return the bytes of a layer by customer, and by connection."""
    customers: Counter[str | None] = Counter()
    connections: Counter[int] = Counter()
    for outcome in outcomes:
        for one in outcome.measured:
            if layer in one.layers:
                customers[one.customer_id] += one.layers[layer].bytes
                connections[one.connection] += one.layers[layer].bytes
    return customers, connections
