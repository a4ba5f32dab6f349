"""Forget a customer: first the catalog, then every copy of its events, then a note that it is done.

Each step may be done again, so one that was interrupted goes on at the next start, or when it is
asked for again.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from streamgauge.core.errors import NotFoundError, StreamgaugeError, UnavailableError
from streamgauge.core.limits import FORGET_WAIT_S
from streamgauge.server.catalog import Catalog
from streamgauge.server.ingest.event_path import EventPath
from streamgauge.server.metering.forgetting import Forget, keys_of_meters
from streamgauge.server.store import EventStore

_log: Final = logging.getLogger("streamgauge.server.ingest")
_LOOK_S: Final = 0.1

Run = Callable[..., Awaitable[Any]]


class Forgetting(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is.

    Attributes:
        customer_id: Who is forgotten.
        mode: ``test_mode`` or ``live_mode``.
        done_at: When nothing was left; None while the store still rewrites events: ask again.
        kept: Metadata keys that stay in its events, by event name: meters depend on them.
        by_hand: What could not be gone through: files with damage that are kept for people to read,
            and in a cluster the streams of the log.
    """

    customer_id: str
    mode: str
    done_at: datetime | None
    kept: dict[str, tuple[str, ...]]
    by_hand: Sequence[str]


class Forgetter:
    """Forgets customers of the running server.

    Args:
        catalog: Knows customers.
        store: Holds events.
        pipeline: Brings them there.
        run: Calls what blocks, in threads that are waited for before the store is closed.
    """

    def __init__(self, catalog: Catalog, store: EventStore, pipeline: EventPath, run: Run) -> None:
        self._run = run
        self._catalog = catalog
        self._store = store
        self._pipeline = pipeline

    async def forget(self, mode: str, id: str, *, wait_s: float = FORGET_WAIT_S) -> Forgetting:
        """Remove what is personal of a customer and of its events until now.

        Raises:
            NotFoundError: Nothing knows the customer.
            UnavailableError: A part refuses; the same call may be made again, and so does the
                next start.
        """
        await self._run(self._check_known, mode, id)
        kept = keys_of_meters(await self._run(self._catalog.meters.list, mode))
        rule = Forget(business_id=self._catalog.business_id, mode=mode, customer_id=id, kept=kept)
        await self._run(self._catalog.forgotten.begin, mode, id)
        try:
            swept = await self._pipeline.forget(rule)
        except OSError as error:
            raise UnavailableError(f"the log cannot be rewritten: {error}", 30) from error
        done_at = None
        if await self._rewritten(rule, swept.position, wait_s):
            record = await self._run(self._catalog.forgotten.finish, mode, id)
            done_at = record.done_at
        return Forgetting(
            customer_id=id, mode=mode, done_at=done_at, kept=kept, by_hand=swept.by_hand
        )

    async def resume(self) -> None:
        """Finish what was interrupted; what cannot be now is tried at the next start."""
        for record in await self._run(self._catalog.forgotten.unfinished):
            try:
                await self.forget(record.mode, record.customer_id, wait_s=math.inf)
            except StreamgaugeError as error:
                _log.warning("the customer %s is not forgotten yet: %s", record.customer_id, error)

    def _check_known(self, mode: str, id: str) -> None:
        if self._catalog.customers.find(mode, id) is None and not self._store.events(
            business_id=self._catalog.business_id, mode=mode, customer_id=id, limit=1
        ):
            raise NotFoundError("customer", id)

    async def _rewritten(self, rule: Forget, position: int, wait_s: float) -> bool:
        """Return whether the store has rewritten everything, after at most ``wait_s``."""
        end = asyncio.get_running_loop().time() + wait_s
        while not await self._run(self._store.forget, rule, position):
            if asyncio.get_running_loop().time() >= end:
                return False
            await asyncio.sleep(_LOOK_S)
        return True
