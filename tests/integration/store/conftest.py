from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamgauge.server.metering.meter import Aggregation, AggregationType, Meter
from streamgauge.server.store import EventStore, UsageRow

AT = "2026-03-01T12:00:30Z"
_numbers = itertools.count(1)


class Shelf:
    """A store, with rows in few words."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.open()

    def open(self) -> None:
        self.store = EventStore(self._dsn, query_clients=2)

    def reopen(self) -> None:
        self.store.close()
        self.open()

    def row(self, event_id: str, **changes: Any) -> dict[str, Any]:
        whole = {
            "business_id": "bus_1",
            "mode": "test_mode",
            "event_name": "stream",
            "customer_id": "cus_1",
            "timestamp": AT,
            "event_id": event_id,
            "metadata": {},
            "received_at": AT,
        }
        return whole | changes

    def insert(self, segment: int, *rows: dict[str, Any]) -> None:
        lines = [
            json.dumps({"log_position": place} | row)
            for place, row in enumerate(rows, segment << 32)
        ]
        self.store.insert(segment, "\n".join(lines).encode(), len(lines))

    def insert_values(self, segment: int, *texts: str) -> None:
        rows = [
            self.row(f"{segment}-{place}", metadata={"bytes": text})
            for place, text in enumerate(texts)
        ]
        self.insert(segment, *rows)

    def roll_up(self, meter: Meter, cut: int) -> None:
        self.store.plan_rollups([meter], cut)
        self.store.fill_rollups()

    def usage(self, meter: Meter, **changes: Any) -> list[UsageRow]:
        whole = {
            "business_id": "bus_1",
            "mode": "test_mode",
            "start": datetime(2026, 1, 1, tzinfo=UTC),
            "end": datetime(2027, 1, 1, tzinfo=UTC),
        }
        return self.store.usage(meter, **(whole | changes))

    def both_ways(self, meter: Meter, **changes: Any) -> list[UsageRow]:
        """Return usage by the rollup, after seeing that the events say the same."""
        assert self.store.is_rolled_up(meter)
        rolled_up = self.usage(meter, **changes)
        assert rolled_up == self.usage(meter, up_to=2**63, **changes)
        return rolled_up

    def remove(self) -> None:
        """Let go of it, and take a database away from the server that has it."""
        if self._dsn.startswith("clickhouse:"):
            self.store._engine.define(f"DROP DATABASE {self._dsn.rpartition('/')[2]} SYNC")
        self.store.close()


@pytest.fixture(
    scope="session", params=["embedded", pytest.param("http", marks=pytest.mark.cluster)]
)
def new_dsn(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], str]:
    """Give places of new stores: in this process, and across HTTP."""
    if request.param == "embedded":
        return lambda: f"chdb://{tmp_path_factory.mktemp('engine')}"
    new: Callable[[], str] = request.getfixturevalue("clickhouse_url")
    return new


@pytest.fixture
def shelf(new_dsn: Callable[[], str]) -> Iterator[Shelf]:
    opened = Shelf(new_dsn())
    yield opened
    opened.remove()


@pytest.fixture
def new_meter() -> Callable[..., Meter]:
    def new(kind: str = "sum", key: str | None = "bytes", **changes: Any) -> Meter:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        meter = Meter(
            id=f"mtr_{next(_numbers)}",
            business_id="bus_1",
            mode="test_mode",
            name="Bytes",
            event_name="stream",
            measurement_unit="byte",
            aggregation=Aggregation(type=AggregationType(kind), key=key),
            created_at=at,
            updated_at=at,
        )
        return msgspec.structs.replace(meter, **changes)

    return new


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Any]:
    """Have a store with an archive, filled: in files of this machine, as no other can be."""
    from tests.integration.store.archiving import Store  # noqa: PLC0415 - it needs this module

    opened = Store(tmp_path)
    opened.fill()
    yield opened
    opened.store.close()
