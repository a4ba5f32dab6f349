"""Where the platform runs: its process, its files, and the account its SDK gives of itself."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from streamgauge.demo.api import Api
from streamgauge.demo.audience import LEDGER_PATH
from streamgauge.demo.compare import Ledger
from streamgauge.demo.naive import naive_totals
from streamgauge.demo.relay import LOOPBACK
from streamgauge.demo.witness import prepare_page, read_page

if TYPE_CHECKING:
    from streamgauge.demo.processes import Processes

BACKLOG: Final = 128


class _Adopted(msgspec.Struct):
    bytes: int
    spooled_bytes: int
    acknowledged_bytes: int
    refused_bytes: int


class _Stats(msgspec.Struct):
    counted_bytes: int
    open_bytes: int
    spooled_bytes: int
    acknowledged_bytes: int
    refused_bytes: int
    adopted: _Adopted


class Host:
    """Starts the platform, as often as it dies, on one listening socket and one set of files.

    Connections that nobody has accepted yet wait in the socket's queue for the next process.

    Args:
        processes: Ends what is started here.
        folder: Where spool, witness page and logs go.
        media: What the platform serves.
        billing_url: Where its usage goes.
        key: With which it goes there.
    """

    def __init__(
        self, processes: Processes, *, folder: Path, media: Path, billing_url: str, key: str
    ) -> None:
        self._processes = processes
        self._folder = folder
        self._media = media
        self._billing_url = billing_url
        self._key = key
        self._naive_bill = folder / "naive.ndjson"
        self._witness_page = folder / "witness.page"
        prepare_page(self._witness_page)
        self._listener = socket.create_server((LOOPBACK, 0), backlog=BACKLOG)

    @property
    def port(self) -> int:
        """Return the port of the platform."""
        port: int = self._listener.getsockname()[1]
        return port

    async def start(self) -> asyncio.subprocess.Process:
        """Start the platform."""
        return await self._processes.python(
            "streamgauge.demo.platform",
            *("--listener", str(self._listener.fileno())),
            *("--media", str(self._media)),
            *("--spool", str(self._folder / "spool")),
            *("--naive-bill", str(self._naive_bill)),
            *("--witness-page", str(self._witness_page)),
            *("--base-url", self._billing_url),
            environment={"DODO_PAYMENTS_API_KEY": self._key},
            descriptors=(self._listener.fileno(),),
            log=self._folder / "platform.log",
        )

    async def ledger(self) -> Ledger:
        """Have the SDK deliver what it has, and return its account."""
        stats = await Api(self.port).get(LEDGER_PATH, _Stats)
        waiting = stats.open_bytes + stats.spooled_bytes + stats.refused_bytes
        adopted = stats.adopted
        adopted_waiting = adopted.spooled_bytes + adopted.refused_bytes
        return Ledger(
            holds=stats.counted_bytes == waiting + stats.acknowledged_bytes
            and adopted.bytes == adopted_waiting + adopted.acknowledged_bytes,
            recovered_bytes=adopted.bytes,
            unsettled_bytes=waiting + adopted_waiting,
        )

    def witnessed(self) -> dict[str, int]:
        """Return what the witness saw pass, per customer."""
        return read_page(self._witness_page)

    def naive(self) -> dict[str, int]:
        """Return what naive code would have billed, per customer."""
        return naive_totals(self._naive_bill)

    def close(self) -> None:
        """Close the listening socket."""
        self._listener.close()
