from __future__ import annotations

import logging
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from streamgauge.core.errors import ConfigurationError, MissingExtraError, UnavailableError
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.customers import NewCustomer
from streamgauge.server.catalog.migrations import MIGRATIONS
from streamgauge.server.catalog.postgresql import PostgresqlDatabase
from streamgauge.server.layout import CATALOG
from tests.postgresql import Cluster

pytestmark = pytest.mark.postgresql

ANN = NewCustomer(email="ann@example.com", name="Ann")
START = """
import sys
from pathlib import Path
from streamgauge.server.catalog import Catalog
sys.stdin.readline()
catalog = Catalog(Path(sys.argv[1]), url=sys.argv[2])
print(catalog.business_id)
"""


@pytest.fixture
def url(postgresql_cluster: Cluster) -> str:
    return postgresql_cluster.url(postgresql_cluster.new_schema())


@pytest.fixture
def catalog(tmp_path: Path, url: str) -> Iterator[Catalog]:
    opened = Catalog(tmp_path / CATALOG, url=url)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "address", ["", "mysql://a:hush@b/c", "postgresql+asyncpg://a:hush@b/c", "hush", "sqlite:///a"]
)
def test_another_address_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://user@host/database") as refused:
        PostgresqlDatabase(address)
    assert "hush" not in str(refused.value)


def test_its_name_says_where_it_is_and_not_how_it_is_opened() -> None:
    query = "?host=one&host=two&sslpassword=hush&options=-csearch_path%3Da"
    named = PostgresqlDatabase(f"postgresql://ann:hush@/catalog{query}")
    assert named.name == "postgresql://ann:***@/catalog?host=one&host=two"
    named.close()


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'streamgauge\[cluster\]'"):
        PostgresqlDatabase("postgresql://here/catalog")


def test_a_server_that_is_not_there_is_unavailable_and_its_password_untold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UnavailableError) as refused:
        Catalog(tmp_path / CATALOG, url=f"postgresql://ann:hush@127.0.0.1:{port}/catalog")
    assert str(refused.value) == "the catalog cannot be read now"
    assert str(port) in caplog.text
    assert "hush" not in caplog.text


class Scripted:
    def __init__(self, *seconds: float) -> None:
        self._instants = iter(seconds)

    def time_ns(self) -> int:
        return self.monotonic_ns()

    def monotonic_ns(self) -> int:
        return int(next(self._instants) * 1e9)


def test_a_machine_that_is_gone_is_waited_for_by_one_at_a_time() -> None:
    # Asked at 100 s and failed at 105 s; asked at 105.9 s, and at 106.1 s, which fails at once.
    clock = Scripted(100, 105, 105.9, 106.1, 106.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    gone = PostgresqlDatabase(f"postgresql://127.0.0.1:{port}/catalog", clock=clock)
    for cause in (True, False, True):
        with pytest.raises(UnavailableError) as refused, gone.read() as connection:
            connection.exec_driver_sql("SELECT 1")
        assert (refused.value.__cause__ is not None) == cause
    gone.close()


def test_a_database_of_another_encoding_is_refused(
    tmp_path: Path, postgresql_cluster: Cluster
) -> None:
    postgresql_cluster.execute(
        "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    url = postgresql_cluster.url().replace("/postgres?", "/latin?")
    with pytest.raises(ConfigurationError, match="encoding LATIN1"):
        Catalog(tmp_path / CATALOG, url=url)


def test_a_server_that_may_lose_changes_is_warned_of(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, url: str
) -> None:
    with caplog.at_level(logging.WARNING, "streamgauge.server.catalog"):
        Catalog(tmp_path / CATALOG, url=url).close()
    assert "has fsync=off" in caplog.text


def test_processes_that_start_at_once_migrate_once(
    tmp_path: Path, postgresql_cluster: Cluster
) -> None:
    schema = postgresql_cluster.new_schema()
    arguments = [str(tmp_path / CATALOG), postgresql_cluster.url(schema)]
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", START, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(2)
    ]
    for process in starting:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ids = {process.communicate(timeout=60)[0] for process in starting}
    assert [process.returncode for process in starting] == [0, 0]
    assert len(ids) == 1
    versions = postgresql_cluster.execute("SELECT count(*) FROM schema_versions", schema=schema)
    assert versions == [(len(MIGRATIONS),)]


def test_processes_with_directories_of_their_own_share_keys_by_one_secret(
    catalog: Catalog, url: str, tmp_path: Path
) -> None:
    made = catalog.keys.create(mode="test_mode", name="a")
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ConfigurationError, match="copy it from a process that has it"):
        Catalog(other / CATALOG, url=url)
    shutil.copy(tmp_path / "secret", other)
    shared = Catalog(other / CATALOG, url=url)
    assert shared.keys.authenticate(made.token) == made.key
    catalog.keys.revoke(made.key.id)
    assert shared.keys.authenticate(made.token) is None
    shared.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_an_outage_is_unavailable_and_heals(
    catalog: Catalog,
    postgresql_cluster: Cluster,
    how: signal.Signals,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = catalog.keys.create(mode="test_mode", name="a")
    postgresql_cluster.stop(how)
    try:
        for _ in range(2):
            with pytest.raises(UnavailableError, match="cannot be read now"):
                catalog.keys.authenticate(made.token)
            with pytest.raises(UnavailableError, match="cannot be written now"):
                catalog.customers.create("test_mode", ANN)
        assert catalog.trouble() == "the catalog cannot be read now"
    finally:
        postgresql_cluster.start()
    # The first request after it is served: no connection of before is used again.
    assert catalog.keys.authenticate(made.token) == made.key
    caplog.clear()
    assert catalog.trouble() is None
    assert caplog.text == ""
    assert catalog.customers.list("test_mode") == []


def test_connections_that_an_operator_ends_are_made_again(
    catalog: Catalog, postgresql_cluster: Cluster
) -> None:
    for _ in range(2):
        postgresql_cluster.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'streamgauge'"
        )
        catalog.customers.create("test_mode", ANN)
    assert len(catalog.customers.list("test_mode")) == 2


def test_a_connection_lost_within_a_change_leaves_no_part_of_it(
    catalog: Catalog, postgresql_cluster: Cluster
) -> None:
    def lose() -> None:
        with catalog.database.write() as connection:
            catalog.customers.create_within(connection, "test_mode", ANN)
            postgresql_cluster.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'streamgauge' AND state = 'idle in transaction'"
            )
            catalog.customers.create_within(connection, "test_mode", ANN)

    with pytest.raises(UnavailableError):
        lose()
    assert catalog.customers.list("test_mode") == []


def test_a_server_that_only_reads_is_unavailable_for_changes(
    catalog: Catalog, postgresql_cluster: Cluster
) -> None:
    try:
        postgresql_cluster.execute(
            "ALTER DATABASE postgres SET default_transaction_read_only = on",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'streamgauge'",
        )
        with pytest.raises(UnavailableError, match="cannot be written now"):
            catalog.customers.create("test_mode", ANN)
        assert catalog.customers.list("test_mode") == []
    finally:
        postgresql_cluster.execute(
            "SET default_transaction_read_only = off",
            "ALTER DATABASE postgres RESET default_transaction_read_only",
        )


def test_instants_and_texts_come_back_as_they_were(catalog: Catalog) -> None:
    name = "\U0001f4fa %s %(x)s 'é' \\ \"" + str(Decimal("9" * 38))
    made = catalog.customers.create("test_mode", NewCustomer(email="a@b", name=name))
    assert catalog.customers.get("test_mode", made.customer_id) == made
    assert made.name == name
    assert made.created_at.tzinfo is UTC
    assert made.created_at < datetime(2200, 1, 1, tzinfo=UTC)
