"""What a spool's journal holds: events that wait, and those that were refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from streamgauge.sdk.groups import Group


class Source(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A stretch of a slot's count that an event bills: from ``start`` to ``end``."""

    page_id: bytes
    slot: int
    start: int
    end: int


class Stretch(msgspec.Struct, frozen=True, gc=False):
    """What to bill of a slot: when, which bytes, and of which layer (see ``Group.layer``)."""

    timestamp_ns: int
    source: Source
    layer: str


class Draft(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event before it has a number in the spool.

    Attributes:
        group: Who pays for what.
        timestamp_ns: Its timestamp.
        quantity: Its bytes; None: without quantity.
        event_id: The caller's own id; None: one of the spool's sequence.
        sources: The stretches it bills; empty for a plain call.
        layers: Bytes by layer, told beside the quantity.
    """

    group: Group
    timestamp_ns: int
    quantity: int | None
    event_id: str | None = None
    sources: tuple[Source, ...] = ()
    layers: dict[str, int] = {}


_QUANTITY_END: Final = 2**64
"""One slot's count and one event's quantity fit into 64 bits; the sum of several slots may not."""


def drafts(group: Group, stretches: Iterable[Stretch]) -> Iterator[Draft]:
    """Yield events that bill ``stretches`` of one group: one, unless its quantity were too large.

    Args:
        group: Who pays for what.
        stretches: What to bill of each slot.
    """
    taken: list[Stretch] = []
    quantity = 0
    for stretch in stretches:
        size = stretch.source.end - stretch.source.start if not stretch.layer else 0
        if quantity + size >= _QUANTITY_END:
            yield _draft(group, taken, quantity)
            taken, quantity = [], 0
        taken.append(stretch)
        quantity += size
    if taken:
        yield _draft(group, taken, quantity)


def _draft(group: Group, taken: list[Stretch], quantity: int) -> Draft:
    layers: dict[str, int] = {}
    for stretch in taken:
        if stretch.layer:
            size = stretch.source.end - stretch.source.start
            layers[stretch.layer] = layers.get(stretch.layer, 0) + size
    return Draft(
        group=group,
        timestamp_ns=min(stretch.timestamp_ns for stretch in taken),
        quantity=quantity,
        sources=tuple(stretch.source for stretch in taken),
        layers=layers,
    )


class SpooledEvent(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """An event in the spool.

    Attributes:
        number: Its place in this spool, from 1, without gaps.
        sequence: The number in its id; 0 if the caller gave the id.
        event_id: Its id, for ever.
        quantity: Its bytes; None: without quantity.
        spooled_at_ns: When it was written here.
        body: The event as it is delivered.
        sources: The stretches it bills; empty for a plain call.
    """

    number: int
    sequence: int
    event_id: str
    quantity: int | None
    spooled_at_ns: int
    body: bytes
    sources: tuple[Source, ...]


class DeadLetter(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """An event that no sink will take.

    Attributes:
        event: The event.
        reason: What the sink said.
        refused_at_ns: When.
    """

    event: SpooledEvent
    reason: str
    refused_at_ns: int


_ENCODER: Final = msgspec.msgpack.Encoder()
_EVENT_DECODER: Final = msgspec.msgpack.Decoder(SpooledEvent)
_LETTER_DECODER: Final = msgspec.msgpack.Decoder(DeadLetter)


def encode_record(record: SpooledEvent | DeadLetter) -> bytes:
    """Return a record as the journal keeps it."""
    return _ENCODER.encode(record)


def decode_event(record: bytes) -> SpooledEvent:
    """Return a record of the spool's journal.

    Raises:
        msgspec.MsgspecError: It is none.
    """
    return _EVENT_DECODER.decode(record)


def decode_letter(record: bytes) -> DeadLetter:
    """Return a record of the dead letters' journal.

    Raises:
        msgspec.MsgspecError: It is none.
    """
    return _LETTER_DECODER.decode(record)
