"""A private PostgreSQL for tests: a cluster of its own, behind a unix socket that nobody else has.

Unless it is told otherwise it runs with ``fsync=off``: what is tested is the catalog, not the disk
under a server.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

PROGRAMS = Path("/usr/lib/postgresql")
_SETTINGS = (
    *("listen_addresses=", "fsync=off", "full_page_writes=off", "shared_buffers=16MB"),
    *("autovacuum=off", "wal_level=minimal", "max_wal_senders=0", "jit=off"),
)


def program(name: str) -> str | None:
    """Return the newest server program of that name, as Debian or the PATH has it."""
    installed = sorted(PROGRAMS.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(installed[-1]) if installed else shutil.which(name)


def missing() -> str | None:
    """Return why no cluster can be made here, or None."""
    if program("initdb") is None or program("postgres") is None:
        return "PostgreSQL is missing: apt-get install postgresql"
    if os.geteuid() == 0 and not any(user.pw_name == "postgres" for user in pwd.getpwall()):
        return "root may not run PostgreSQL, and there is no user postgres"
    return None


class Cluster:
    """A PostgreSQL server that can be stopped and started; each user gets a schema of its own."""

    def __init__(self, settings: tuple[str, ...] = _SETTINGS) -> None:
        # Not under pytest's directory: it is root's alone, and root may not run PostgreSQL.
        self._home = Path(tempfile.mkdtemp(prefix="streamgauge-postgresql-"))
        self._data = self._home / "data"
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(self._home, "postgres", "postgres")
            self._user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        self._numbers = itertools.count(1)
        self._log = self._home / "log"
        self._settings = [part for setting in settings for part in ("-c", setting)]
        command = [str(program("initdb")), "-D", str(self._data), "-U", "tests", "-N"]
        command += ["-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(command, check=True, capture_output=True, cwd=self._home, **self._user)

    def start(self) -> None:
        # It ends with the tests, also if these are killed.
        command = ["setpriv", "--pdeathsig", "QUIT", str(program("postgres"))]
        command += ["-D", str(self._data), "-k", str(self._home), *self._settings]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._home, **self._user
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.01)
            else:
                return

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it; SIGINT hangs up on everybody, SIGQUIT dies without a word."""
        self._process.send_signal(number)
        self._process.wait(60)

    def remove(self) -> None:
        shutil.rmtree(self._home)

    def url(self, schema: str | None = None) -> str:
        more = "" if schema is None else f"&options={quote(f'-csearch_path={schema}')}"
        return f"postgresql://tests@/postgres?host={quote(str(self._home), safe='')}{more}"

    def new_schema(self) -> str:
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE SCHEMA {name}")
        return name

    def emptied_schema(self) -> str:
        """Return the schema that all such tests use one after another, with empty tables."""
        self.execute(
            "CREATE SCHEMA IF NOT EXISTS shared",
            # Rows one by one cost less than new files, in any order without foreign keys.
            "SET session_replication_role = replica",
            """DO $$ DECLARE name text; BEGIN
                FOR name IN SELECT tablename FROM pg_tables
                    WHERE schemaname = 'shared' AND tablename <> 'schema_versions'
                LOOP EXECUTE 'DELETE FROM shared.' || name; END LOOP;
            END $$""",
        )
        return "shared"

    def execute(self, *statements: str, schema: str | None = None) -> list[tuple[Any, ...]]:
        """Run statements on a connection of their own; return the rows of the last one."""
        with psycopg.connect(self.url(schema), autocommit=True) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        cluster.remove()
