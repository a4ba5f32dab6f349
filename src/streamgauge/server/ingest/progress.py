"""How far the store has the log of a cluster, as every process of it sees it."""

from __future__ import annotations

import asyncio

from streamgauge.core.errors import UnavailableError
from streamgauge.server.ingest.streams import Mark, Streams
from streamgauge.server.store.segments import ROW_BITS, log_position

# Marks are told as they are set; one that was missed is asked for.
_ASK_AGAIN_S = 0.5


class Progress:
    """Follows the writer's marks on one event loop; ``streams`` are those of its log."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._mark = Mark()
        self._changed = asyncio.Event()

    def load(self) -> None:
        """Ask how far the store is; call it before ``start``.

        Raises:
            UnavailableError: The stream cannot be read now.
        """
        self._mark = self._streams.mark()

    def start(self) -> None:
        """Start to follow, on the running loop."""
        loop = asyncio.get_running_loop()

        def hear(mark: Mark) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._advance, mark)

        self._streams.follow_marks(hear)

    async def caught_up(self, timeout_s: float) -> int:
        """Return when the store has everything that any process accepted before this call.

        Returns:
            A log position with that in the store.

        Raises:
            UnavailableError: It is not within ``timeout_s``, or the stream cannot be read.
        """
        end = (await asyncio.to_thread(self._streams.state)).last
        try:
            async with asyncio.timeout(timeout_s):
                await self._reach(end)
        except TimeoutError:
            raise UnavailableError(
                f"events up to record {end} are accepted, and the writer has stored those up to "
                f"{self._mark.reach}",
                2,
            ) from None
        return log_position(self._mark.segment, (1 << ROW_BITS) - 1)

    async def _reach(self, end: int) -> None:
        while self._mark.reach < end:
            self._changed.clear()
            self._streams.tell_end(end, hurried=True)
            try:
                async with asyncio.timeout(_ASK_AGAIN_S):
                    await self._changed.wait()
            except TimeoutError:
                self._advance(await asyncio.to_thread(self._streams.mark))

    def _advance(self, mark: Mark) -> None:
        if mark.reach > self._mark.reach:
            self._mark = mark
            self._changed.set()
