from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from streamgauge.core.clock import SystemClock
from streamgauge.core.errors import UnavailableError
from streamgauge.server.api import customers, keys, meters, products, subscriptions, unsupported
from streamgauge.server.api.routes import not_found, refusing_routes, routes
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.keys import ApiKey
from streamgauge.server.layout import CATALOG
from streamgauge.server.metering.meter import Meter
from streamgauge.server.parts import Parts
from streamgauge.server.rates import Rates

METER = {
    "name": "Bytes",
    "event_name": "stream",
    "measurement_unit": "byte",
    "aggregation": {"type": "sum", "key": "bytes"},
}
CUSTOMER = {"email": "ann@example.com", "name": "Ann"}


def usage_price(meter_id: str, /, **charge: object) -> dict[str, object]:
    return {
        "type": "usage_based_price",
        "currency": "USD",
        "fixed_price": 500,
        "payment_frequency_count": 1,
        "payment_frequency_interval": "Month",
        "subscription_period_count": 10,
        "subscription_period_interval": "Year",
        "discount": 0,
        "purchasing_power_parity": False,
        "meters": [{"meter_id": meter_id, "price_per_unit": "5", "free_threshold": 10} | charge],
    }


T = TypeVar("T")
RESOURCES = (meters, customers, products, subscriptions, keys)
OPERATIONS = tuple(operation for module in RESOURCES for operation in module.OPERATIONS)


@dataclass
class CatalogParts:
    """The real catalog; of the engine only whether it was asked."""

    catalog: Catalog
    clock: SystemClock = field(default_factory=SystemClock)
    rolled_up: list[Meter] = field(default_factory=list)
    engine_is_down: bool = False
    rates: Rates = field(default_factory=lambda: Rates(clock=SystemClock()))

    async def run(self, function: Callable[..., T], /, *args: object) -> T:
        return function(*args)

    async def key(self, token: str) -> ApiKey | None:
        return self.catalog.keys.authenticate(token)

    async def add_meter(self, meter: Meter) -> None:
        if self.engine_is_down:
            raise UnavailableError("the engine is down")
        self.rolled_up.append(meter)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def catalog_url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "sqlite":
        return None
    cluster = request.getfixturevalue("postgresql_cluster")
    return str(cluster.url(cluster.emptied_schema()))


@pytest.fixture
def parts(tmp_path: Path, catalog_url: str | None) -> Iterator[CatalogParts]:
    catalog = Catalog(tmp_path / CATALOG, url=catalog_url)
    yield CatalogParts(catalog=catalog)
    catalog.close()


@pytest.fixture
def app(parts: CatalogParts) -> Starlette:
    served = cast("Parts", parts)
    return Starlette(
        routes=[*routes(served, OPERATIONS), *refusing_routes(unsupported.unsupported_paths())],
        exception_handlers={404: cast("Callable[[Request, Exception], Response]", not_found)},
    )


class Api:
    """A client with the key of one mode; no socket between it and the application."""

    def __init__(self, app: Starlette, token: str) -> None:
        self._app = app
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
            base = "http://server"
            headers = self._headers | options.pop("headers", {})
            async with httpx.AsyncClient(transport=transport, base_url=base) as http:
                return await http.request(method, path, headers=headers, **options)

        return asyncio.run(once())

    def call(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        response = self.send(method, path, **({} if body is None else {"json": body}))
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    def refused(
        self, method: str, path: str, body: object = None, *, status: int
    ) -> dict[str, str]:
        answer = self.call(method, path, body, status)
        assert set(answer) == {"code", "message"}
        return cast("dict[str, str]", answer)


@pytest.fixture
def api(app: Starlette, parts: CatalogParts) -> Api:
    return Api(app, parts.catalog.keys.create(mode="test_mode", name="test").token)


@pytest.fixture
def live(app: Starlette, parts: CatalogParts) -> Api:
    return Api(app, parts.catalog.keys.create(mode="live_mode", name="live").token)


@pytest.fixture
def reader(app: Starlette, parts: CatalogParts) -> Api:
    made = parts.catalog.keys.create(mode="test_mode", name="reader", scope="read")
    return Api(app, made.token)


@pytest.fixture
def writer(app: Starlette, parts: CatalogParts) -> Api:
    return Api(app, parts.catalog.keys.create(mode="test_mode", name="w", scope="write").token)


@pytest.fixture
def nobody(app: Starlette) -> Api:
    return Api(app, "")


@pytest.fixture
def meter(api: Any) -> dict[str, Any]:
    made: dict[str, Any] = api.call("POST", "/meters", METER, 201)
    return made


@pytest.fixture
def price() -> Callable[..., dict[str, object]]:
    return usage_price


@pytest.fixture
def product(api: Any, meter: dict[str, Any]) -> dict[str, Any]:
    body = {"name": "Plan", "tax_category": "saas", "price": usage_price(meter["id"])}
    made: dict[str, Any] = api.call("POST", "/products", body)
    return made


@pytest.fixture
def customer(api: Any) -> dict[str, Any]:
    made: dict[str, Any] = api.call("POST", "/customers", CUSTOMER)
    return made


@pytest.fixture
def subscription(api: Any, customer: dict[str, Any], product: dict[str, Any]) -> dict[str, Any]:
    body = {
        "billing": {"country": "US"},
        "customer": {"customer_id": customer["customer_id"]},
        "product_id": product["product_id"],
        "quantity": 1,
    }
    made: dict[str, Any] = api.call("POST", "/subscriptions", body)
    return made
