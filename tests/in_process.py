"""A whole server in the process of a test, asked without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import httpx

from streamgauge.server.app import Opened, create_app
from streamgauge.server.catalog.meters import NewMeter
from streamgauge.server.config import Config
from streamgauge.server.metering.meter import Aggregation, AggregationType

SUM: Final = NewMeter(
    name="Bytes",
    event_name="stream",
    measurement_unit="byte",
    aggregation=Aggregation(type=AggregationType.SUM, key="bytes"),
)


def served(config: Config, work: Callable[[httpx.AsyncClient, Opened], Awaitable[None]]) -> None:
    """Open what ``config`` says, do ``work`` with a key of its test mode, and settle it."""

    async def main() -> None:
        opened = await asyncio.to_thread(Opened, config)
        opened.start()
        made = opened.parts.catalog.keys.create(mode="test_mode", name="test")
        headers = {"authorization": f"Bearer {made.token}"}
        transport = httpx.ASGITransport(create_app(opened.parts), raise_app_exceptions=False)
        try:
            async with httpx.AsyncClient(
                transport=transport, base_url="http://server", headers=headers
            ) as http:
                await work(http, opened)
        finally:
            await opened.close()

    asyncio.run(main())
