"""Logs and figures of the server."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from itertools import accumulate
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamgauge.server.api.request_ids import HEADER, request_id
from streamgauge.server.ingest.event_path import PipelineState
from streamgauge.server.ingest.retention import RetentionState
from streamgauge.server.store.timing import BOUNDS_S, Times

_REQUEST_LOGGER: Final = "streamgauge.server.requests"
_REQUESTS: Final = structlog.stdlib.get_logger(_REQUEST_LOGGER)
_HEADER: Final = HEADER.encode()
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})


class PipelineCollector(Collector):
    """The pipeline's figures of one instant.

    Args:
        state: They.
    """

    def __init__(self, state: PipelineState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Yield every figure."""
        state = self._state
        events = CounterMetricFamily(
            "streamgauge_events", "Events answered with 200.", labels=["result"]
        )
        for result in ("stored", "duplicate"):
            events.add_metric([result], state.counts[result])
        yield events
        refused = CounterMetricFamily(
            "streamgauge_refused_requests", "Ingest requests refused.", labels=["code"]
        )
        for code, count in sorted(state.refused.items()):
            refused.add_metric([code], count)
        yield refused
        yield CounterMetricFamily(
            "streamgauge_inserted_rows", "Rows inserted into the store.", value=state.inserted_rows
        )
        for name, text, value in (
            ("commit_queue_bytes", "Accepted, waiting for the disk.", state.queued_bytes),
            ("queryable_lag_seconds", "Age of the oldest event not queryable.", state.lag_s),
            ("ingest_log_bytes", "Size of the ingest log.", state.log_bytes),
            ("known_id_runs", "Intervals of spool event ids remembered.", state.known_runs),
            ("known_ids_foreign", "Other event ids remembered.", state.known_foreign),
            ("log_damage", "Damaged places found in log, ids or store.", len(state.damage)),
            ("set_aside_events", "Events that the store will never take.", state.set_aside),
            ("ready", "1 while events are accepted and stored.", int(not state.trouble)),
        ):
            yield GaugeMetricFamily(f"streamgauge_{name}", text, value=value)


class QueryCollector(Collector):
    """How long the store's queries took until one instant.

    Args:
        times: They, by kind.
    """

    def __init__(self, times: Mapping[str, Times]) -> None:
        self._times = times

    def collect(self) -> Iterator[Metric]:
        """Yield a histogram."""
        found = HistogramMetricFamily(
            "streamgauge_query_seconds", "Queries of the store.", labels=["query"]
        )
        for kind, times in self._times.items():
            bounds = [*map(str, BOUNDS_S), "+Inf"]
            buckets = list(zip(bounds, accumulate(times.counts), strict=True))
            found.add_metric([kind], buckets, sum_value=times.total_s)
        yield found


class RetentionCollector(Collector):
    """Retention's figures of one instant.

    Args:
        state: They.
    """

    def __init__(self, state: RetentionState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Yield every figure."""
        state = self._state
        run_at = state.run_at.timestamp() if state.run_at else 0
        for name, text, value in (
            ("archived_events", "Raw events in the archive.", state.events),
            ("archived_bytes", "Size of the archive's files.", state.bytes),
            ("archive_missing_files", "Files that are not there or not whole.", len(state.missing)),
            ("retention_run_timestamp_seconds", "When retention last looked; 0 never.", run_at),
            ("retention_failing", "1 if that failed.", int(state.trouble is not None)),
        ):
            yield GaugeMetricFamily(f"streamgauge_{name}", text, value=value)


def metrics(state: PipelineState, times: Mapping[str, Times], retention: RetentionState) -> bytes:
    """Return the figures in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PipelineCollector(state))
    registry.register(QueryCollector(times))
    registry.register(RetentionCollector(retention))
    return generate_latest(registry)


def configure_logging(*, level: str, as_json: bool) -> None:
    """Send every log of this process to stderr, one line each."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Its own words about a start and a stop repeat ours.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


class RequestLog:
    """Gives each request its id, and logs it with its status and time; bodies stay out.

    The id is in the answer's ``X-Request-Id``, and in every line that is logged meanwhile.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        id, answer = request_id(scope), dict[str, Any]()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer["status"] = message["status"]
                headers = list(message.get("headers", ()))
                if all(name.lower() != _HEADER for name, _ in headers):
                    message = {**message, "headers": [*headers, (_HEADER, id.encode())]}
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=id):
            try:
                await self._app(scope, receive, noted)
            finally:
                self._log(scope, started, answer)

    @staticmethod
    def _log(scope: Scope, started: float, answer: dict[str, Any]) -> None:
        quiet = scope["path"] in _QUIET or answer.get("status") == HTTPStatus.OK
        level = logging.DEBUG if quiet else logging.INFO
        # Asked of the standard library: in a host that has not set up structlog, that would print.
        if logging.getLogger(_REQUEST_LOGGER).isEnabledFor(level):
            _REQUESTS.log(
                level,
                "request",
                method=scope["method"],
                path=scope["path"],
                ms=round((time.perf_counter() - started) * 1000, 1),
                **answer,
            )
