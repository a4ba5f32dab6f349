"""A server whose catalog is in PostgreSQL, and what it does while that is away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from streamgauge.server.app import Opened
from streamgauge.server.config import Config
from tests.in_process import SUM, served
from tests.postgresql import Cluster

pytestmark = pytest.mark.postgresql


def body(number: int) -> dict[str, Any]:
    event = {
        "event_id": f"event_{number}",
        "customer_id": "customer_1",
        "event_name": "stream",
        "metadata": {"bytes": 10**30},
    }
    return {"events": [event]}


def test_an_outage_of_the_catalog_answers_503_and_heals(
    tmp_path: Path, postgresql_cluster: Cluster
) -> None:
    url = postgresql_cluster.url(postgresql_cluster.new_schema())

    async def work(http: httpx.AsyncClient, _opened: Opened) -> None:
        made = await http.post("/meters", content=msgspec.json.encode(SUM))
        asked = {"meter_id": made.json()["id"], "customer_id": "customer_1"}
        assert (await http.post("/events/ingest", json=body(0))).status_code == 200
        assert (await http.get("/readyz")).status_code == 200
        postgresql_cluster.stop()
        try:
            for method, path, more in (
                ("POST", "/events/ingest", {"json": body(1)}),
                ("GET", "/v1/usage", {"params": asked}),
                ("POST", "/meters", {"content": msgspec.json.encode(SUM)}),
                ("GET", "/customers", {}),
            ):
                answer = await http.request(method, path, **more)
                assert answer.status_code == 503, answer.text
                assert answer.headers["retry-after"] == "1"
                assert answer.json()["code"] == "UNAVAILABLE"
                assert "postgresql" not in answer.text.lower()
            ready = await http.get("/readyz")
            assert ready.status_code == 503
            assert ready.json()["trouble"] == ["the catalog cannot be read now"]
            assert "streamgauge_ready 0.0" in (await http.get("/metrics")).text
            assert (await http.get("/healthz")).status_code == 200
        finally:
            postgresql_cluster.start()
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.post("/events/ingest", json=body(1))).status_code == 200
        usage = await http.get("/v1/usage", params=asked)
        assert usage.json()["quantity"] == str(2 * 10**30)

    served(Config(data_dir=tmp_path / "data", catalog=url), work)
