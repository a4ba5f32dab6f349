"""The comparison: what each customer received, and what was counted, billed and charged for it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from streamgauge.core.errors import StreamgaugeError
from streamgauge.core.ids import split_event_id
from streamgauge.demo.audience import Plays, Viewer
from streamgauge.demo.held import Held, Limits, held
from streamgauge.demo.relay import Relay


class Verdict(StrEnum):
    """How the figures of one customer stand to each other."""

    EXACT = "exact"
    HELD = "within what was held"
    WRONG = "WRONG"


class ChargeLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a customer's invoice."""

    title: str
    consumed_bytes: int
    amount: int
    explanation: str


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's invoice; amounts in minor units."""

    currency: str
    total: int
    total_text: str
    lines: tuple[ChargeLine, ...]

    @property
    def consumed_bytes(self) -> int:
        """Return the bytes of all lines."""
        return sum(line.consumed_bytes for line in self.lines)


class CountedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A usage event as the server gives it back."""

    event_id: str
    customer_id: str
    bytes: int
    http: int = 0
    tls: int = 0
    wire: int = 0


class LayerSums(msgspec.Struct, frozen=True, kw_only=True):
    """One customer's bytes on every layer, as its usage events tell them.

    Attributes:
        payload: What is billed.
        http: With heads and framing.
        tls: The same here, where nothing is encrypted.
        wire: IP packets.
        arrived: Bytes of HTTP that arrived, by the relay's own count.
        is_whole: False where a kill left the last word on a connection unsaid, which only its
            kernel had: then the layers below payload are too small.
    """

    payload: int
    http: int
    tls: int
    wire: int
    arrived: int
    is_whole: bool

    @property
    def agrees(self) -> bool:
        """Return whether the layers lie above one another, and HTTP is what arrived."""
        in_order = self.http == self.tls <= self.wire
        if not self.is_whole:
            return in_order and self.http <= self.arrived
        return in_order and self.payload <= self.http == self.arrived


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One customer.

    Attributes:
        customer_id: Who.
        does: What the player did.
        received: Payload bytes that arrived, by the relay's own count.
        unread: Of these, what the player left unread in its kernel when it hung up.
        counted: The sum of the customer's usage events.
        invoiced: The sum of the invoice's lines.
        naive: What adding up ``len(chunk)`` per response would have billed.
        disturbed: Whether the platform died while something was on its way.
        left_early: Whether the player left before a response was whole.
        held: The responses that were on their way or broken off, each with its limits.
        held_bytes_max: How much more than ``received`` may rightly have been counted.
        charge: The invoice.
        layers: The bytes on every layer.
        verdict: How the figures stand to each other.
        agrees: False if they contradict each other.
    """

    customer_id: str
    does: str
    received: int
    unread: int
    counted: int
    invoiced: int
    naive: int
    disturbed: bool
    left_early: bool
    held: tuple[Held, ...]
    held_bytes_max: int
    charge: Charge
    layers: LayerSums
    verdict: Verdict
    agrees: bool


class Writer(msgspec.Struct, frozen=True, kw_only=True):
    """The events of one spool: numbered without gaps, so a lost one would show."""

    writer_id: str
    events: int
    missing: int


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """The account that the SDK of the restarted platform gives of itself.

    Attributes:
        holds: Whether every byte it counted or adopted is accounted for.
        recovered_bytes: Found in the dead process's tally and spool.
        unsettled_bytes: Counted or adopted, and not acknowledged by the server.
    """

    holds: bool
    recovered_bytes: int
    unsettled_bytes: int


class CrashCost(msgspec.Struct, frozen=True, kw_only=True):
    """What the SIGKILL cost.

    Attributes:
        lost_bytes: Seen by the witness, or received by a customer, and in no usage event.
        doubled_bytes: In more than one usage event, or in one and never seen by the witness.
        witnessed_bytes: What the witness saw pass, in both processes.
        taken_back_bytes: Of these, what never arrived at players who left early.
        billed_bytes: All usage events together.
        events: How many.
        repeated_event_ids: Ids that occur more than once.
        writers: The spools that wrote them.
        ledger: The SDK's own account.
    """

    lost_bytes: int
    doubled_bytes: int
    witnessed_bytes: int
    taken_back_bytes: int
    billed_bytes: int
    events: int
    repeated_event_ids: int
    writers: tuple[Writer, ...]
    ledger: Ledger

    @property
    def agrees(self) -> bool:
        """Return whether nothing is lost, nothing double and nothing open."""
        missing = sum(writer.missing for writer in self.writers)
        wrong = self.lost_bytes + self.doubled_bytes + self.repeated_event_ids + missing
        return wrong == 0 and self.ledger.holds and self.ledger.unsettled_bytes == 0


class ForeignEventIdError(StreamgaugeError):
    """An event id that no spool of ours wrote is among the demo's events."""


def compare(
    viewer: Viewer,
    relay: Relay,
    *,
    events: list[CountedEvent],
    charge: Charge,
    naive: int,
    limits: Limits,
) -> Row:
    """Return the row of one customer."""
    parts = [part for connection in relay.connections for part in held(connection, limits)]
    own = [event for event in events if event.customer_id == viewer.customer_id]
    counted = sum(event.bytes for event in own)
    disturbed = any(connection.disturbed for connection in relay.connections)
    http = sum(event.http for event in own)
    cut = any(connection.was_open_at_death for connection in relay.connections)
    layers = LayerSums(
        payload=counted,
        http=http,
        tls=sum(event.tls for event in own),
        wire=sum(event.wire for event in own),
        arrived=relay.stream_bytes,
        is_whole=not cut or http == relay.stream_bytes,
    )
    held_bytes_max = sum(part.bytes_max for part in parts)
    verdict = judge(
        received=relay.payload,
        counted=counted,
        invoiced=charge.consumed_bytes,
        held_bytes_max=held_bytes_max,
    )
    return Row(
        customer_id=viewer.customer_id,
        does=viewer.does,
        received=relay.payload,
        unread=relay.unread_bytes,
        counted=counted,
        invoiced=charge.consumed_bytes,
        naive=naive,
        disturbed=disturbed,
        left_early=viewer.plays is Plays.HANG_UP and not disturbed,
        held=tuple(parts),
        held_bytes_max=held_bytes_max,
        charge=charge,
        layers=layers,
        verdict=verdict,
        agrees=verdict is not Verdict.WRONG and layers.agrees,
    )


def judge(*, received: int, counted: int, invoiced: int, held_bytes_max: int) -> Verdict:
    """Return how a customer's figures stand to each other.

    What was counted must be invoiced, to the byte. Nothing received may be uncounted. More than
    was received may be counted only as far as something held it when the platform died.
    """
    if counted != invoiced or not received <= counted <= received + held_bytes_max:
        return Verdict.WRONG
    return Verdict.EXACT if counted == received else Verdict.HELD


def crash_cost(
    events: list[CountedEvent],
    rows: Sequence[Row],
    *,
    witnessed: dict[str, int],
    ledger: Ledger,
    limits: Limits,
) -> CrashCost:
    """Return what the SIGKILL cost, by the events, the rows, the witness and the SDK's account."""
    once = {event.event_id: event.bytes for event in events}
    repeated_bytes = sum(event.bytes for event in events) - sum(once.values())
    lost = unseen = taken_back = 0
    for row in rows:
        seen = witnessed[row.customer_id]
        # Of what was handed over for a player who left, only what arrived is billed.
        taken_back += max(0, seen - row.counted) if row.left_early else 0
        owed = row.received if row.left_early else max(seen, row.received)
        lost += max(0, owed - row.counted)
        # A kill between the meter and the witness leaves a chunk that only the meter has seen.
        between = sum(limits.chunk_bytes for part in row.held if part.received_at_death is not None)
        unseen += max(0, row.counted - seen - between)
    return CrashCost(
        lost_bytes=lost,
        doubled_bytes=max(repeated_bytes, unseen),
        witnessed_bytes=sum(witnessed.values()),
        taken_back_bytes=taken_back,
        billed_bytes=sum(event.bytes for event in events),
        events=len(events),
        repeated_event_ids=len(events) - len(once),
        writers=_writers(once),
        ledger=ledger,
    )


def _writers(event_ids: dict[str, int]) -> tuple[Writer, ...]:
    sequences: dict[str, set[int]] = {}
    for event_id in event_ids:
        split = split_event_id(event_id)
        if split is None:
            raise ForeignEventIdError(f"no spool wrote the event {event_id}")
        sequences.setdefault(split[0], set()).add(split[1])
    return tuple(
        Writer(
            writer_id=writer_id,
            events=len(numbers),
            missing=max(numbers) - min(numbers) + 1 - len(numbers),
        )
        for writer_id, numbers in sorted(sequences.items())
    )
