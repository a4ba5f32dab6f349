from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.database import Database
from streamgauge.server.catalog.postgresql import PostgresqlDatabase
from streamgauge.server.catalog.sqlite import SqliteDatabase
from streamgauge.server.layout import CATALOG
from tests.postgresql import Cluster


class StepClock:
    def __init__(self) -> None:
        self.now_ns = 1_750_000_000_000_000_000

    def time_ns(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.time_ns()


class Place:
    """Where a catalog is: a file of SQLite, as here, or a schema of PostgreSQL, as below."""

    url: str | None = None

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.path = directory / CATALOG

    def open(self, **options: Any) -> Catalog:
        return Catalog(self.path, url=self.url, **options)

    def database(self) -> Database:
        return SqliteDatabase(self.path)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Do what an operator may do by hand."""
        with contextlib.closing(sqlite3.connect(self.path)) as raw, raw:
            return raw.execute(statement).fetchall()

    @contextlib.contextmanager
    def held_by_a_writer(self) -> Iterator[None]:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as holding:
            holding.execute("BEGIN IMMEDIATE")
            yield
            holding.execute("ROLLBACK")


class PostgresqlPlace(Place):
    def __init__(self, directory: Path, cluster: Cluster) -> None:
        super().__init__(directory)
        self._cluster = cluster
        self._schema = cluster.new_schema()
        self.url = cluster.url(self._schema)

    def database(self) -> Database:
        assert self.url is not None
        return PostgresqlDatabase(self.url)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        return self._cluster.execute(statement, schema=self._schema)

    @contextlib.contextmanager
    def held_by_a_writer(self) -> Iterator[None]:
        other = self.database()
        with other.write():
            yield
        other.close()


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(tmp_path / "data")
    return PostgresqlPlace(tmp_path / "data", request.getfixturevalue("postgresql_cluster"))


@pytest.fixture
def catalog(place: Place, clock: StepClock) -> Iterator[Catalog]:
    opened = place.open(clock=clock)
    yield opened
    opened.close()
