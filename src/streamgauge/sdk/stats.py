"""What an ingestion has counted, and where every byte of it stands."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Durability(StrEnum):
    """Where counts and events are kept until they are delivered."""

    DISK = "disk"
    MEMORY = "memory"


class Adopted(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes taken over from processes that are gone, apart from this one's own.

    Attributes:
        bytes: All bytes found in adopted spools, those never made an event included.
        spooled_bytes: Of these, waiting to be delivered.
        acknowledged_bytes: Of these, taken by the sink.
        refused_bytes: Of these, never to be taken by the sink.
        spools: How many spools were adopted.
    """

    bytes: int = 0
    spooled_bytes: int = 0
    acknowledged_bytes: int = 0
    refused_bytes: int = 0
    spools: int = 0


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """A moment of an ingestion; in bytes unless the name says otherwise.

    Attributes:
        counted_bytes: Everything counted by this process.
        open_bytes: Of it, counted in the tally and not yet in an event.
        spooled_bytes: Of it, in events that wait for the sink.
        acknowledged_bytes: Of it, in events that the sink has taken.
        refused_bytes: Of it, never to be billed: in events that the sink refused, kept with their
            reason, or counted after the end or while the spool was full.
        spooled_events: Events that wait for the sink.
        acknowledged_events: Events that the sink has taken.
        refused_events: Events that will never be taken.
        restamped_bytes: Of the acknowledged, taken under a later timestamp than measured, since
            the measured one was too old for the other side (see ``late`` of ``Ingestion``).
        crossed_bytes: Of the restamped, taken under another UTC day than measured: where a period
            ends at midnight, they are on the next invoice.
        held_bytes: Of the refused, kept aside because they were too old for the other side.
        turned_away: Of the refused, bytes that never became an event, by reason: ``closed`` (added
            after the end), ``the spool is full``, ``no room for another group``.
        adopted: What was taken over from processes that are gone.
        left_alone: Directories beside ours that are not ours to bill, and why.
        oldest_pending_age_s: Age of the oldest event that waits for the sink; None: none waits.
        delivers: Whether this process delivers, for all that share its spool directory and
            destination; one of them does.
        last_error: The latest trouble in words; None: there was none.
        durability: Where counts and events are kept.
    """

    counted_bytes: int
    open_bytes: int
    spooled_bytes: int
    acknowledged_bytes: int
    refused_bytes: int
    spooled_events: int
    acknowledged_events: int
    refused_events: int
    restamped_bytes: int = 0
    crossed_bytes: int = 0
    held_bytes: int = 0
    turned_away: dict[str, int] = {}
    adopted: Adopted
    left_alone: tuple[str, ...]
    oldest_pending_age_s: float | None
    delivers: bool = True
    last_error: str | None
    durability: Durability

    @property
    def holds(self) -> bool:
        """Return whether every byte is accounted for, ours and adopted ones apart."""
        own = self.open_bytes + self.spooled_bytes + self.acknowledged_bytes + self.refused_bytes
        adopted = self.adopted
        return self.counted_bytes == own and adopted.bytes == (
            adopted.spooled_bytes + adopted.acknowledged_bytes + adopted.refused_bytes
        )
