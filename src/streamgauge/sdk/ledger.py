"""Sums over the events of one spool; its spool's lock guards it."""

from __future__ import annotations

import msgspec

from streamgauge.sdk.identity import Settled


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
        held_bytes: Of the refused, kept aside because they came too late.
        restamped_bytes: Of the acknowledged, taken under a later timestamp than measured.
        crossed_bytes: Of the restamped, taken under another UTC day than measured.
        turned_away: Of the refused, bytes that never became an event, by reason.
    """

    plain_bytes: int = 0
    pending_events: int = 0
    pending_bytes: int = 0
    acknowledged_events: int = 0
    acknowledged_bytes: int = 0
    refused_events: int = 0
    refused_bytes: int = 0
    held_bytes: int = 0
    restamped_bytes: int = 0
    crossed_bytes: int = 0
    turned_away: dict[str, int] = {}

    def enter(self, quantity: int | None) -> None:
        """Note an event that waits for the sink from now on."""
        self.pending_events += 1
        self.pending_bytes += quantity or 0

    def settle(self, before: Settled, after: Settled) -> None:
        """Note what sinks have answered to waiting events between two moments."""
        acknowledged_events = after.acknowledged_events - before.acknowledged_events
        acknowledged_bytes = after.acknowledged_bytes - before.acknowledged_bytes
        refused_events = after.refused_events - before.refused_events
        refused_bytes = after.refused_bytes - before.refused_bytes
        self.pending_events -= acknowledged_events + refused_events
        self.pending_bytes -= acknowledged_bytes + refused_bytes
        self.acknowledged_events += acknowledged_events
        self.acknowledged_bytes += acknowledged_bytes
        self.refused_events += refused_events
        self.refused_bytes += refused_bytes
        self.held_bytes += after.held_bytes - before.held_bytes
        self.restamped_bytes += after.restamped_bytes - before.restamped_bytes
        self.crossed_bytes += after.crossed_bytes - before.crossed_bytes

    def turn_away(self, quantity: int | None, reason: str) -> None:
        """Note an event that never entered, and why, in a few fixed words."""
        self.plain_bytes += quantity or 0
        self.refused_events += 1
        self.refused_bytes += quantity or 0
        self.turned_away = {
            **self.turned_away,
            reason: self.turned_away.get(reason, 0) + (quantity or 0),
        }
