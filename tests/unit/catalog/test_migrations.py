from __future__ import annotations

import threading

import pytest
from sqlalchemy import inspect
from sqlalchemy.exc import OperationalError, ProgrammingError

from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.migrations import MIGRATIONS, Migration, migrate
from streamgauge.server.catalog.schema import metadata
from tests.unit.catalog.conftest import Place


def test_a_second_start_applies_nothing(place: Place) -> None:
    database = place.database()
    assert migrate(database, 1) == [migration.name for migration in MIGRATIONS]
    assert migrate(database, 2) == []
    database.close()


def test_a_newer_schema_is_refused_and_left_alone(catalog: Catalog, place: Place) -> None:
    catalog.close()
    newer = len(MIGRATIONS) + 1
    place.execute(f"INSERT INTO schema_versions VALUES ({newer}, 'later', 1)")
    with pytest.raises(ConfigurationError, match=f"schema version {newer}"):
        place.open()
    assert place.execute("SELECT max(number) FROM schema_versions") == [(newer,)]


def test_a_migration_that_fails_changes_nothing(place: Place) -> None:
    database = place.database()
    broken = Migration("broken", ("CREATE TABLE half (a TEXT)", "CREATE TABLE half (a TEXT)"))
    with pytest.raises((UnavailableError, ProgrammingError)) as failed:
        migrate(database, 1, (*MIGRATIONS, broken))
    assert isinstance(failed.value.__cause__, OperationalError) == (place.url is None)
    with database.read() as connection:
        assert inspect(connection).get_table_names() == []
    assert migrate(database, 2) == [migration.name for migration in MIGRATIONS]
    database.close()


def test_migrations_go_on_from_where_they_stopped(place: Place) -> None:
    database = place.database()
    migrate(database, 1)
    added = Migration("one more", ("CREATE TABLE more (a TEXT)",))
    assert migrate(database, 2, (*MIGRATIONS, added)) == ["one more"]
    database.close()


def test_the_tables_that_queries_see_are_the_ones_that_are_made(catalog: Catalog) -> None:
    with catalog.database.read() as connection:
        for table in metadata.sorted_tables:
            made = {column["name"] for column in inspect(connection).get_columns(table.name)}
            assert made == {column.name for column in table.columns}, table.name


def test_business_and_mode_lead_every_key(catalog: Catalog) -> None:
    with catalog.database.read() as connection:
        for table in metadata.sorted_tables:
            if table.name != "businesses":
                key = inspect(connection).get_pk_constraint(table.name)["constrained_columns"]
                assert key[:2] == ["business_id", "mode"], table.name


def test_two_processes_that_start_at_once_mint_one_business(place: Place) -> None:
    found: list[str] = []

    def start() -> None:
        opened = place.open()
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
    assert place.execute("SELECT count(*) FROM schema_versions") == [(len(MIGRATIONS),)]
