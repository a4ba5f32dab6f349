"""The act itself: players play, the platform is killed in the middle and started again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import msgspec

from streamgauge.core.errors import UnavailableError
from streamgauge.demo.audience import AUDIENCE, Plays, Viewer
from streamgauge.demo.compare import Ledger
from streamgauge.demo.players import RANGE_BYTES, Show, play
from streamgauge.demo.processes import end, kill
from streamgauge.demo.relay import Relay

if TYPE_CHECKING:
    from streamgauge.demo.hosting import Host
    from streamgauge.demo.stage import Stage

Players = list[tuple[Viewer, Relay]]

EARLIEST_KILL_S: Final = 10.0
LATEST_KILL_S: Final = 18.0
DARK_S: Final = 1.0
USAGE_POLL_S: Final = 1.0
_MOMENT_POLL_S: Final = 0.01
# Cut between these, a range has filled the buffers on its way, and more is left than they hold.
_UNDER_WAY: Final = range(RANGE_BYTES // 20, RANGE_BYTES // 6)


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What the act leaves to be compared."""

    players: tuple[tuple[Viewer, Relay], ...]
    ledger: Ledger
    witnessed: dict[str, int]
    naive: dict[str, int]


class Act:
    """One performance.

    Args:
        host: Runs the platform.
        show: What the players share.
        stage: Shows progress.
        usage: Returns what the billing server has counted so far, per customer.
    """

    def __init__(
        self,
        host: Host,
        show: Show,
        stage: Stage,
        usage: Callable[[], Awaitable[dict[str, int]]],
    ) -> None:
        self._host = host
        self._show = show
        self._stage = stage
        self._usage = usage

    async def perform(self) -> Findings:
        """Play everything, through the crash, until all usage is delivered.

        Raises:
            UnavailableError: A player or a process gave up.
        """
        async with contextlib.AsyncExitStack() as stack:
            players = [
                (viewer, await stack.enter_async_context(Relay(self._host.port, viewer.line)))
                for viewer in AUDIENCE
            ]
            ledger = await self._stream(players)
        for _, relay in players:
            if relay.failures:
                raise relay.failures[0]
        return Findings(
            players=tuple(players),
            ledger=ledger,
            witnessed=self._host.witnessed(),
            naive=self._host.naive(),
        )

    async def _stream(self, players: Players) -> Ledger:
        self._stage.step(f"{len(players)} customers start their players")
        platform = await self._host.start()
        self._stage.watch(players)
        polling = asyncio.create_task(self._poll_usage())
        try:
            async with asyncio.TaskGroup() as group:
                for viewer, relay in players:
                    group.create_task(self._play(viewer, relay))
                platform = await self._crash(platform, players)
            self._stage.step("All players are done; the last usage goes to the billing server")
            ledger = await self._host.ledger()
            await end(platform)
        finally:
            polling.cancel()
            self._stage.unwatch()
        return ledger

    async def _play(self, viewer: Viewer, relay: Relay) -> None:
        await play(viewer, relay, self._show)
        await relay.idle()

    async def _crash(
        self, platform: asyncio.subprocess.Process, players: Players
    ) -> asyncio.subprocess.Process:
        await _moment(players)
        # Nothing can arrive in between: marking and killing do not give up the event loop.
        for _, relay in players:
            relay.mark_death()
        await kill(platform)
        self._stage.step(f"SIGKILL: the platform (process {platform.pid}) is dead")
        await asyncio.sleep(DARK_S)
        self._stage.step("The platform starts again, on the dead one's spool")
        return await self._host.start()

    async def _poll_usage(self) -> None:
        while True:
            await asyncio.sleep(USAGE_POLL_S)
            # Only the display misses a figure; the comparison asks again.
            with contextlib.suppress(UnavailableError):
                self._stage.counted(await self._usage())


async def _moment(players: Players) -> None:
    """Wait for a good moment to die: half-way, with responses on their way.

    The download must be early in a range, so that the kernel holds less than is left of it.
    """
    download = next(relay for viewer, relay in players if viewer.plays is Plays.RANGES)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.sleep(EARLIEST_KILL_S)
    while loop.time() - began < LATEST_KILL_S:
        latest = download.connections[-1].exchanges[-1:] if download.connections else []
        under_way = any(exchange.payload in _UNDER_WAY for exchange in latest)
        if under_way and sum(relay.in_flight for _, relay in players) > 1:
            return
        await asyncio.sleep(_MOMENT_POLL_S)
