from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.database import Database
from streamgauge.server.catalog.migrations import MIGRATIONS, Migration, migrate
from streamgauge.server.catalog.schema import metadata


def test_a_second_start_applies_nothing(path: Path) -> None:
    database = Database(path)
    assert migrate(database, 1) == [migration.name for migration in MIGRATIONS]
    assert migrate(database, 2) == []
    database.close()


def test_a_newer_schema_is_refused_and_left_alone(catalog: Catalog, path: Path) -> None:
    catalog.close()
    newer = len(MIGRATIONS) + 1
    with sqlite3.connect(path) as raw:
        raw.execute("INSERT INTO schema_versions VALUES (?, 'later', 1)", (newer,))
    raw.close()
    with pytest.raises(ConfigurationError, match=f"schema version {newer}"):
        Catalog(path)


@pytest.mark.parametrize("offset", [0, 20])
def test_a_damaged_file_is_refused_and_left_alone(
    catalog: Catalog, path: Path, offset: int
) -> None:
    catalog.close()
    damaged = path.read_bytes()[:offset] + b"\xff" * 8192
    path.write_bytes(damaged)
    with pytest.raises(ConfigurationError, match="cannot be read as a catalog"):
        Catalog(path)
    assert path.read_bytes() == damaged


def test_a_file_whose_first_page_alone_is_whole_is_refused(catalog: Catalog, path: Path) -> None:
    catalog.close()
    path.write_bytes(path.read_bytes()[:4096].ljust(path.stat().st_size, b"\xff"))
    with pytest.raises(ConfigurationError, match="cannot be read as a catalog"):
        Catalog(path)


def test_a_directory_in_place_of_the_file_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read as a catalog"):
        Catalog(path)


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    database = Database(path)
    broken = Migration("broken", ("CREATE TABLE half (a TEXT)", "CREATE TABLE half (a TEXT)"))
    with pytest.raises(UnavailableError) as failed:
        migrate(database, 1, (*MIGRATIONS, broken))
    assert isinstance(failed.value.__cause__, OperationalError)
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    raw.close()
    assert migrate(database, 2) == [migration.name for migration in MIGRATIONS]
    database.close()


def test_migrations_go_on_from_where_they_stopped(path: Path) -> None:
    database = Database(path)
    migrate(database, 1)
    added = Migration("one more", ("CREATE TABLE more (a TEXT)",))
    assert migrate(database, 2, (*MIGRATIONS, added)) == ["one more"]
    database.close()


def test_the_tables_that_queries_see_are_the_ones_that_are_made(
    catalog: Catalog, path: Path
) -> None:
    with sqlite3.connect(path) as raw:
        for table in metadata.sorted_tables:
            made = {row[1] for row in raw.execute(f"PRAGMA table_info({table.name})")}
            assert made == {column.name for column in table.columns}, table.name
    raw.close()


def test_business_and_mode_lead_every_key(catalog: Catalog, path: Path) -> None:
    with sqlite3.connect(path) as raw:
        for table in metadata.sorted_tables:
            if table.name == "businesses":
                continue
            rows = raw.execute(f"PRAGMA table_info({table.name})").fetchall()
            keys = sorted((row[5], row[1]) for row in rows if row[5])
            assert [name for _, name in keys[:2]] == ["business_id", "mode"], table.name
    raw.close()


def test_two_processes_that_start_at_once_mint_one_business(path: Path) -> None:
    found: list[str] = []

    def start() -> None:
        opened = Catalog(path)
        found.append(opened.business_id)
        opened.keys.create(mode="test_mode", name="a")
        opened.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert len(set(found)) == 1
