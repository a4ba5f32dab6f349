"""Sums over the events of one spool; its spool's lock guards it."""

from __future__ import annotations

import msgspec


class Ledger(msgspec.Struct, kw_only=True):
    """Events and bytes by where they stand.

    Attributes:
        plain_bytes: Counted by plain calls, wherever they stand now.
        pending_events: Waiting for the sink.
        pending_bytes: As above, in bytes.
        acknowledged_events: Taken by the sink.
        acknowledged_bytes: As above, in bytes.
        refused_events: Never to be taken.
        refused_bytes: As above, in bytes.
    """

    plain_bytes: int = 0
    pending_events: int = 0
    pending_bytes: int = 0
    acknowledged_events: int = 0
    acknowledged_bytes: int = 0
    refused_events: int = 0
    refused_bytes: int = 0

    def enter(self, quantity: int | None) -> None:
        """Note an event that waits for the sink from now on."""
        self.pending_events += 1
        self.pending_bytes += quantity or 0

    def acknowledge(self, quantity: int | None) -> None:
        """Note that the sink has taken a waiting event."""
        self.pending_events -= 1
        self.pending_bytes -= quantity or 0
        self.acknowledged_events += 1
        self.acknowledged_bytes += quantity or 0

    def refuse(self, quantity: int | None) -> None:
        """Note that a waiting event will never be taken."""
        self.pending_events -= 1
        self.pending_bytes -= quantity or 0
        self.turn_away(quantity)

    def turn_away(self, quantity: int | None) -> None:
        """Note an event that never entered."""
        self.refused_events += 1
        self.refused_bytes += quantity or 0
