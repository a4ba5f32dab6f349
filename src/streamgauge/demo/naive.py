"""What one would write first: add up ``len(chunk)``, bill when the response ends.

The demo runs it inside the real meter, on the same chunks, to compare. It knows nothing of what
the customer received, and what it holds in memory dies with the process.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streamgauge.demo.audience import viewer_of
from streamgauge.demo.witness import payload_of, token_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Billed(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the naive bill."""

    customer_id: str
    bytes: int


class NaiveMeter:
    """ASGI middleware that appends a line to ``bill`` at the end of every response."""

    def __init__(self, app: ASGIApp, bill: Path) -> None:
        self._app = app
        self._bill = bill

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add up what the application sends."""
        viewer = viewer_of(token_of(scope))
        if viewer is None:
            await self._app(scope, receive, send)
            return
        total = 0

        async def counting(message: Message) -> None:
            nonlocal total
            total += payload_of(message)
            await send(message)

        try:
            await self._app(scope, receive, counting)
        finally:
            line = msgspec.json.encode(Billed(customer_id=viewer.customer_id, bytes=total))
            with self._bill.open("ab") as file:
                file.write(line + b"\n")


def naive_totals(bill: Path) -> dict[str, int]:
    """Return what naive code would have billed, per customer."""
    totals: dict[str, int] = {}
    if bill.exists():
        for billed in msgspec.json.Decoder(Billed).decode_lines(bill.read_bytes()):
            totals[billed.customer_id] = totals.get(billed.customer_id, 0) + billed.bytes
    return totals
