"""The composition root: options become parts, parts become an ASGI application.

Parts open in the order of the data path backwards (catalog, store, log, pipeline) and close in the
other, so nothing is accepted before it can be kept, and everything accepted is settled.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, ExceptionHandler, Receive, Scope, Send

from streamgauge._version import __version__
from streamgauge.core.clock import Clock, SystemClock
from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.core.files import hold
from streamgauge.core.limits import KEY_THREADS, POOL_THREADS_MAX
from streamgauge.core.payers import bill_nobody
from streamgauge.server import telemetry
from streamgauge.server.api import (
    backups,
    customers,
    events,
    health,
    invoices,
    keys,
    meters,
    plans,
    products,
    retention,
    subscriptions,
    usage,
    usage_history,
)
from streamgauge.server.api.openapi import document
from streamgauge.server.api.operation import Operation
from streamgauge.server.api.routes import failed, not_found, other_method, refusing_routes, routes
from streamgauge.server.api.unsupported import BEFORE_SERVED, unsupported_paths
from streamgauge.server.backup.holding import Holder, clear
from streamgauge.server.backup.restoring import check_finished
from streamgauge.server.billing import Billing
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.keys import ApiKey
from streamgauge.server.config import Config
from streamgauge.server.ingest.event_path import EventPath
from streamgauge.server.ingest.forgetter import Forgetter
from streamgauge.server.ingest.origin import check_place, origin_of
from streamgauge.server.ingest.retention import Retention
from streamgauge.server.layout import ARCHIVE, CATALOG, ENGINE, LOCK
from streamgauge.server.metering.meter import Meter
from streamgauge.server.pages.routes import routes as page_routes
from streamgauge.server.paths import Surroundings, alone, in_cluster, join
from streamgauge.server.rates import Rates
from streamgauge.server.store import EventStore

T = TypeVar("T")
_log = logging.getLogger("streamgauge.server")

OPERATIONS: Final[tuple[Operation, ...]] = (
    *events.OPERATIONS,
    *meters.OPERATIONS,
    *customers.OPERATIONS,
    *products.OPERATIONS,
    *subscriptions.OPERATIONS,
    *usage.OPERATIONS,
    *invoices.OPERATIONS,
    *plans.OPERATIONS,
    *usage_history.OPERATIONS,
    *keys.OPERATIONS,
)


class RunningParts:
    """What handlers and pages may ask of the running server; their ``Parts``, fulfilled.

    Args:
        catalog: Keys, customers, meters and so on.
        store: Events and usage.
        pipeline: The way of events to the store.
        clock: Where time comes from.
        rates: Counts the requests of keys; without it none are limited.
        data_dir: Where all of it is; without it there are no backups.
        keep_events_days: How long raw events stay in the engine; for ever if None.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: EventStore,
        pipeline: EventPath,
        clock: Clock,
        rates: Rates | None = None,
        data_dir: Path | None = None,
        keep_events_days: int | None = None,
    ) -> None:
        self.catalog = catalog
        self.store = store
        self.pipeline = pipeline
        self.billing = Billing(catalog, store, clock=clock)
        self.clock = clock
        self.rates = rates or Rates(clock=clock)
        self.forgetter = Forgetter(catalog, store, pipeline, self.run)
        self.retention = Retention(store, pipeline, clock, self.run, keep_events_days)
        self.holder = Holder(data_dir, catalog, store, pipeline, clock)
        self._pool = ThreadPoolExecutor(POOL_THREADS_MAX, thread_name_prefix="streamgauge-pool")
        # Ingest needs keys, and must not wait behind queries that wait for the engine.
        self._keys_pool = ThreadPoolExecutor(KEY_THREADS, thread_name_prefix="streamgauge-keys")

    async def run(self, function: Callable[..., T], /, *args: object) -> T:
        """Return ``function(*args)``, called in the bounded thread pool."""
        return await _run_in(self._pool, function, *args)

    async def key(self, token: str) -> ApiKey | None:
        """Return the working key of ``token``, or None; never waits for what ``run`` does."""
        return await self._ask_catalog(self.catalog.keys.authenticate, token)

    async def catalog_trouble(self) -> str | None:
        """Return why the catalog does not answer now, or None; waits as ``key`` does."""
        return await self._ask_catalog(self.catalog.trouble)

    async def _ask_catalog(self, function: Callable[..., T], /, *args: object) -> T:
        if not self.catalog.blocks:
            return function(*args)
        return await _run_in(self._keys_pool, function, *args)

    async def add_meter(self, meter: Meter) -> None:
        """Return when the usage of ``meter`` is rolled up; twice is once."""
        await self.pipeline.ensure_rollup(meter)
        await self.run(self.store.fill_rollups)

    def close(self) -> None:
        """Wait for running calls and stop the pool."""
        self.store.stop_long_work()
        for pool in (self._pool, self._keys_pool):
            pool.shutdown(wait=True, cancel_futures=True)


async def _run_in(pool: ThreadPoolExecutor, function: Callable[..., T], *args: object) -> T:
    """Return ``function(*args)``, called in ``pool``; what it logs names the request."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(pool, context.run, function, *args)


class Opened:
    """The open data directory and the parts that work on it.

    Args:
        config: All options.
        clock: Where time comes from.

    Raises:
        LockedError: Another process has the data directory open.
        ConfigurationError: The data directory, or what is in it, does not fit.
        UnavailableError: The event engine does not open.
    """

    def __init__(self, config: Config, *, clock: Clock | None = None) -> None:
        self.config = config
        clock = clock or SystemClock()
        path = config.data_dir.absolute()
        with contextlib.ExitStack() as stack:
            directory = OsDirectory(path, create=True)
            lock = hold(directory, LOCK, f"the data directory {path}")
            stack.callback(lock.release)
            check_finished(path)
            clear(path)
            catalog = Catalog(path / CATALOG, url=config.catalog, clock=clock)
            stack.callback(catalog.close)
            check_place(path, path / ENGINE, config.store)
            dsn = config.store or f"chdb://{path / ENGINE}"
            accepts, writes = config.role != "writer", config.role != "api"
            streams = config.ingest_log and join(config.ingest_log, path, stack, writes=writes)
            origin = config.store and origin_of(path, origin=streams.origin if streams else None)
            archive = None if config.store else path / ARCHIVE
            store = EventStore(dsn, origin=origin, follows=not writes, archive=archive)
            stack.callback(store.close)
            around = Surroundings(directory, path, store, clock, self._fill, stack)
            pipeline = (
                in_cluster(streams, around, accepts=accepts, writes=writes)
                if streams
                else alone(around)
            )
            replayed = pipeline.recover(catalog.meters.list())
            if strangers := pipeline.businesses() - {catalog.business_id}:
                raise ConfigurationError(
                    f"{path} holds events of {', '.join(sorted(strangers))}, but its catalog is of "
                    f"{catalog.business_id}: the catalog was lost; restore it from a backup"
                )
            _log.info("opened %s; replayed %d events", path, replayed)
            limit = config.rate_limit
            rates = Rates(per_second=limit.per_second, per_minute=limit.per_minute, clock=clock)
            self._forgetting: asyncio.Task[None] | None = None
            self._retaining: asyncio.Task[None] | None = None
            self.parts = RunningParts(
                catalog, store, pipeline, clock, rates, path, config.keep_events_days
            )
            stack.callback(self.parts.close)
            self._stack = stack.pop_all()

    def start(self) -> None:
        """Start to accept events, on the running loop; rollups are filled beside it."""
        self.parts.pipeline.start()
        loop = asyncio.get_running_loop()
        self._filling = loop.create_task(self._fill())
        self._forgetting = loop.create_task(self.parts.forgetter.resume())

    def keep_retention(self) -> None:
        """Archive events by the policy from now on, on the running loop."""
        self._retaining = asyncio.get_running_loop().create_task(self.parts.retention.keep())

    async def filled(self) -> None:
        """Return when the rollups that were not finished at the start are, or could not be."""
        await self._filling

    async def _fill(self) -> None:
        try:
            await self.parts.run(self.parts.store.fill_rollups)
        except UnavailableError as error:
            _log.warning("usage is read from events until the next start: %s", error)

    async def close(self) -> None:
        """Settle what was accepted and close everything; twice is once."""
        stack, self._stack = self._stack, contextlib.ExitStack()
        self.parts.store.stop_long_work()
        for task in filter(None, (self._forgetting, self._retaining)):
            task.cancel()
            await asyncio.wait([task])
        stop_s = self.config.stop_timeout_s
        if not await asyncio.to_thread(self.parts.pipeline.stop, stop_s):
            _log.error("the pipeline did not stop in time; the next start replays its log")
        await asyncio.to_thread(stack.close)


def create_app(parts: RunningParts, *, more_routes: Iterable[BaseRoute] = ()) -> ASGIApp:
    """Return the HTTP application over ``parts``.

    Args:
        parts: The running server.
        more_routes: They come before those of the pages and of the API.
    """
    described = document((*events.DESCRIBED, *OPERATIONS), version=__version__)

    async def openapi(_request: Request) -> Response:
        return JSONResponse(described)

    handlers: Mapping[Any, ExceptionHandler] = {
        404: not_found,
        405: other_method,
        Exception: failed,
    }
    app = Starlette(
        routes=[
            *more_routes,
            *page_routes(parts),
            *health.health_routes(parts, telemetry.metrics),
            Route("/openapi.json", openapi),
            *events.ingest_routes(parts),
            *refusing_routes(BEFORE_SERVED),
            *routes(parts, OPERATIONS),
            *routes(parts, (*backups.OPERATIONS, *retention.OPERATIONS)),
            *refusing_routes(unsupported_paths()),
        ],
        exception_handlers=handlers,
    )
    app.router.redirect_slashes = False
    return Unbilled(telemetry.RequestLog(app))


class Unbilled:
    """Keeps the server's own answers off everybody's bill.

    A host that mounts this server beside its streams has a middleware around both, and the SDK's
    deliveries to it would be streams that are billed, and so lead to more deliveries.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unbilled."""
        bill_nobody(scope)
        await self._app(scope, receive, send)
