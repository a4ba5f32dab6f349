"""Is it alive, is it ready, and its figures; no key needed, nothing about customers in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from streamgauge.server.ingest.event_path import PipelineState
from streamgauge.server.ingest.retention import RetentionState
from streamgauge.server.parts import Parts
from streamgauge.server.store.timing import Times

_JSON: Final = "application/json"
Metrics = Callable[[PipelineState, Mapping[str, Times], RetentionState], bytes]
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """What ``/readyz`` says.

    Attributes:
        status: ``ready`` or ``not ready``.
        trouble: What does not work now.
        damage: What was found broken on disk at the start, and set aside.
        lag_s: How long the oldest accepted event waits to be queryable.
    """

    status: str
    trouble: list[str]
    damage: list[str]
    lag_s: float


def health_routes(parts: Parts, metrics: Metrics) -> list[BaseRoute]:
    """Return ``/healthz``, ``/readyz`` and ``/metrics``, which ``metrics`` renders."""

    async def state() -> PipelineState:
        found, catalog = parts.pipeline.state(), await parts.catalog_trouble()
        if catalog is not None:
            found = msgspec.structs.replace(found, trouble=[*found.trouble, catalog])
        return found

    async def healthz(_request: Request) -> Response:
        return Response(b'{"status":"alive"}', media_type=_JSON)

    async def readyz(_request: Request) -> Response:
        now = await state()
        answer = Readiness(
            status="not ready" if now.trouble else "ready",
            trouble=now.trouble,
            damage=now.damage,
            lag_s=round(now.lag_s, 3),
        )
        status = 503 if now.trouble else 200
        return Response(msgspec.json.encode(answer), status, media_type=_JSON)

    async def figures(_request: Request) -> Response:
        # It looks at files. The pool of queries is not waited for: it is what one watches.
        retention = await asyncio.to_thread(parts.retention.state)
        found = metrics(await state(), parts.store.times.read(), retention)
        return Response(found, media_type=METRICS_TYPE)

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", figures),
    ]
