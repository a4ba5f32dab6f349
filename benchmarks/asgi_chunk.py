"""What metering a response adds to each of its chunks: ours beside the ways people count today.

An ASGI application sends one response of many chunks into a server that drops them. CPU time of
the thread per chunk, less that of the unmetered application in the same round; medians and
quartiles over rounds whose order rotates. Ours is crash-safe, with a real tally page, a real
socket that the kernel is asked about, all layers, and bytes held back until they arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, Counter
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.no_server import NoServer
from benchmarks.track_call import recording, theirs_us, why_not_node
from streamgauge import Ingestion
from streamgauge.asgi import StreamBytesMiddleware
from streamgauge.testing import MemorySink, assert_conserved

NONE = "unmetered"
BLUEPRINT_CALLS = 3_000
CHUNK_BYTES = (4_096, 65_536, 1_048_576)
App = Callable[..., Coroutine[Any, Any, None]]


def application(chunks: int, size: int) -> App:
    """Return an application whose response has so many chunks, of known total length."""
    body = {"type": "http.response.body", "body": bytes(size), "more_body": True}
    headers = [(b"content-length", str(chunks * size).encode())]

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(chunks):
            await send(body)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


def counting(app: App, count: Callable[[int], object]) -> App:
    """Return what most people write: an asynchronous ``send`` that counts and hands on."""

    async def metered(scope: Any, receive: Any, send: Any) -> None:
        async def counted(message: Any) -> None:
            if message["type"] == "http.response.body":
                count(len(message.get("body", b"")))
            await send(message)

        await app(scope, receive, counted)

    return metered


class Total:
    """A sum that is lost when the process is killed."""

    def __init__(self) -> None:
        self.n = 0

    def add(self, n: int) -> None:
        """Count."""
        self.n += n


def with_base_http_middleware(app: App) -> App:
    """Return the application behind Starlette's ``BaseHTTPMiddleware``, which re-streams it."""

    async def dispatch(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        streamed = response.body_iterator  # type: ignore[attr-defined]

        async def counted() -> AsyncIterator[bytes]:
            total = 0
            async for chunk in streamed:
                total += len(chunk)
                yield chunk

        response.body_iterator = counted()  # type: ignore[attr-defined]
        return response

    return BaseHTTPMiddleware(app, dispatch=dispatch)  # type: ignore[return-value]


@contextmanager
def variants(app: App) -> Iterator[dict[str, App]]:
    """Yield the application, and the application behind each way of counting."""
    labels = {"customer": "customer_123", "quality": "1080p"}
    provider = MeterProvider([InMemoryMetricReader()])
    otel = provider.get_meter("benchmark").create_counter("bytes")
    family = Counter("bytes", "Bytes.", list(labels), registry=CollectorRegistry())
    with tempfile.TemporaryDirectory() as parent:
        ingestion = Ingestion(
            environment="test_mode",
            event_name="stream_consumption",
            spool_dir=Path(parent) / "spool",
            sink=MemorySink(),
        )
        ours = {
            f"ours, {layer}": StreamBytesMiddleware(
                app,
                ingestion=ingestion,
                layer=layer,
                layers_told=("http", "tls", "wire"),
                customer=lambda _: "customer_123",
                metadata={"quality": "1080p"},
            )
            for layer in ("payload", "wire")
        }
        yield {
            NONE: app,
            **ours,  # type: ignore[dict-item]
            "naive: async send, n += len": counting(app, Total().add),
            "prometheus-client, labels().inc": counting(
                app, lambda n: family.labels(**labels).inc(n)
            ),
            "OpenTelemetry, counter.add": counting(app, lambda n: otel.add(n, labels)),
            "BaseHTTPMiddleware, n += len": with_base_http_middleware(app),
        }
        ingestion.close()
        assert_conserved(ingestion.stats())
    provider.shutdown()


async def cost_ns(app: App, server: NoServer, chunks: int) -> float:
    """Return the thread's CPU time per chunk of one response."""
    with server.request() as (scope, receive, send):
        started_ns = time.thread_time_ns()
        await app(scope, receive, send)
        return (time.thread_time_ns() - started_ns) / chunks


async def measure(rounds: int, chunks: int, size: int) -> dict[str, list[float]]:
    """Return the cost of each variant, round by round."""
    with variants(application(chunks, size)) as apps, NoServer() as server:
        costs: dict[str, list[float]] = {name: [] for name in apps}
        names = list(apps)
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                costs[name].append(await cost_ns(apps[name], server, chunks))
    return costs


def show(costs: dict[str, list[float]], title: str) -> None:
    """Print what each variant adds to a chunk, and how often ours fits into it."""
    print(f"\n{title:36}{'added ns per chunk':>22}{'quartiles':>18}{'times ours':>12}")
    added = {
        name: [value - bare for value, bare in zip(values, costs[NONE], strict=True)]
        for name, values in costs.items()
    }
    ours = statistics.median(added["ours, payload"])
    print(f"{NONE:36}{statistics.median(costs[NONE]):>22.0f}   (whole)")
    for name, values in added.items():
        if name != NONE:
            low, middle, high = statistics.quantiles(values, n=4)
            spread = f"{low:.0f} to {high:.0f}"
            print(f"{name:36}{middle:>22.0f}{spread:>18}{middle / ours:>12.1f}")


def main() -> None:
    """Print a table for every size of chunk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--chunks", type=int, default=20_000)
    options = parser.parse_args()
    for size in CHUNK_BYTES:
        costs = asyncio.run(measure(options.rounds, options.chunks, size))
        show(costs, f"chunks of {size:,} bytes")
    missing = why_not_node()
    if missing is not None:
        print(f"\nnpm blueprint, a call per chunk: skipped, {missing}")
        return
    with recording() as (address, _):
        each_ns = theirs_us(address, BLUEPRINT_CALLS) * 1_000
    print(f"\n{'npm blueprint, a call per chunk':36}{each_ns:>22,.0f}   (of its own process)")


if __name__ == "__main__":
    main()
