from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import REGISTRY, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamgauge import Ingestion, StreamBytesMiddleware, bill_to
from streamgauge.sinks.base import RetryLaterError
from streamgauge.testing import MemorySink

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "monitoring.md").read_text("utf-8")
BLOCK = re.compile(r"<!-- run: (\S+) -->\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAMS: dict[str, str] = dict(BLOCK.findall(GUIDE))


async def answer(request: Request) -> Response:
    customer_id = request.path_params["customer"]
    if customer_id != "nobody":
        bill_to(request, customer_id=customer_id)
    return Response(b"x" * 1_000)


def stream(app: Any, *customers: str) -> None:
    async def ask() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
            for customer in customers:
                await client.get(f"/{customer}")

    asyncio.run(ask())


@pytest.fixture
def app() -> Starlette:
    return Starlette(routes=[Route("/{customer}", answer)])


def test_prometheus_reads_where_every_byte_stands(
    app: Starlette, streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> None:
    names: dict[str, Any] = {"app": app, "ingestion": streamgauge_ingestion}
    before = {*REGISTRY._collector_to_names}
    exec(PROGRAMS["prometheus"], names)
    try:
        stream(names["app"], "ann", "bob", "nobody")
        assert streamgauge_ingestion.flush()
        shown = _shown()
        assert shown["streamgauge_counted_bytes_total"] == 2_000
        assert shown["streamgauge_acknowledged_bytes_total"] == 2_000
        assert shown["streamgauge_unattributed_bytes"] == 1_000
        assert shown["streamgauge_oldest_pending_seconds"] == 0
        assert shown["streamgauge_in_memory"] == 0
        streamgauge_sink.fail_next(*[RetryLaterError("away")] * 100)
        stream(names["app"], "ann")
        streamgauge_ingestion.flush(0.2)
        shown = _shown()
        assert shown["streamgauge_spooled_bytes"] == 1_000
        assert shown["streamgauge_oldest_pending_seconds"] > 0
        streamgauge_sink._failures.clear()
    finally:
        for collector in {*REGISTRY._collector_to_names} - before:
            REGISTRY.unregister(collector)
    alerts = set(re.findall(r"\bstreamgauge_\w+", GUIDE.split("```yaml")[1].split("```")[0]))
    assert alerts <= shown.keys()
    assert len(alerts) >= 5


def test_opentelemetry_reads_the_same(app: Starlette, streamgauge_ingestion: Ingestion) -> None:
    names: dict[str, Any] = {}
    exec(PROGRAMS["opentelemetry"], names)
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    metered = StreamBytesMiddleware(app, ingestion=streamgauge_ingestion)
    names["observe"](provider.get_meter("streamgauge"), streamgauge_ingestion, metered)
    stream(metered, "ann", "nobody")
    assert streamgauge_ingestion.flush()
    data = reader.get_metrics_data()
    assert data is not None
    shown = {
        metric.name: (
            metric.unit,
            [getattr(point, "value", None) for point in metric.data.data_points],
        )
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    provider.shutdown()
    assert shown["streamgauge.counted"] == ("By", [1_000])
    assert shown["streamgauge.acknowledged"] == ("By", [1_000])
    assert shown["streamgauge.nobodys"] == ("By", [1_000])
    assert shown["streamgauge.pending.age"] == ("s", [0])
    assert shown["streamgauge.in_memory"][1] == [False]


def _shown() -> dict[str, float]:
    lines = generate_latest(REGISTRY).decode().splitlines()
    found = (line.split() for line in lines if line.startswith("streamgauge_"))
    return {name: float(value) for name, value in found}
