"""A catalog in PostgreSQL, which the processes of a cluster share.

Writers take one advisory lock, so that they follow one another as they do in a SQLite file: what
was looked up before a change still holds when it is made, and of processes that start together one
migrates. A connection that was lost is found before it is used again, so an outage answers 503 and
ends by itself.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Final

from sqlalchemy import URL, Connection, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from streamgauge.core.clock import Clock, SystemClock
from streamgauge.core.errors import ConfigurationError, MissingExtraError, UnavailableError
from streamgauge.core.limits import POOL_THREADS_MAX

_log: Final = logging.getLogger("streamgauge.server.catalog")

# Of one database: "streamga" as a number, so that no other program takes it by chance.
_WRITERS_LOCK: Final = int.from_bytes(b"streamga")
_LOCK_TIMEOUT_S: Final = 10
_CONNECT_TIMEOUT_S: Final = 5
# What the driver is told unless the URL says it: a peer that is gone is noticed in about 20 s.
_DRIVER_OPTIONS: Final = {
    "connect_timeout": _CONNECT_TIMEOUT_S,
    "application_name": "streamgauge",
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
# A server that lets us wait this long for nothing is not asked again for as long.
_SLOW_NS: Final = 1_000_000_000
# A writer reads beside its transaction, so each thread may need two; keys are looked up as well.
_CONNECTIONS_MAX: Final = 4 * POOL_THREADS_MAX
_IDLE_CONNECTIONS: Final = 4
_VERSION_OLDEST: Final = 13
# What PostgreSQL says where it only reads: a standby, or a primary that was set so.
_READ_ONLY_TRANSACTION: Final = "25006"


class PostgresqlDatabase:
    """A ``Database`` on a server.

    Args:
        address: ``postgresql://user:password@host:port/database``, with libpq's parameters.
        clock: Where time comes from.

    Raises:
        ConfigurationError: It is no such URL.
        MissingExtraError: The ``cluster`` extra is not installed.
    """

    blocks = True

    def __init__(self, address: str, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._away_until_ns = 0
        url = _url(address)
        hosts = {name: to for name, to in url.query.items() if name in {"host", "port"}}
        self.name = url.set(drivername="postgresql", query=hosts).render_as_string()
        options = {name: to for name, to in _DRIVER_OPTIONS.items() if name not in url.query}
        try:
            self._engine = create_engine(
                url,
                connect_args=options,
                isolation_level="REPEATABLE READ",
                pool_pre_ping=True,
                pool_size=_IDLE_CONNECTIONS,
                max_overflow=_CONNECTIONS_MAX - _IDLE_CONNECTIONS,
                pool_timeout=_CONNECT_TIMEOUT_S,
            )
        except ImportError as error:
            raise MissingExtraError("cluster", error.name or "psycopg") from error
        # Behind the lock a writer must see what the writer before it has done.
        self._writers = self._engine.execution_options(isolation_level="READ COMMITTED")

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection whose reads are of one instant.

        Raises:
            UnavailableError: The server cannot be reached.
        """
        with self._unavailable("read"), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose changes are all kept, on disk, or none; one writer at a time.

        Raises:
            UnavailableError: Another writer holds on too long, or the server cannot be reached or
                takes no changes.
        """
        with self._unavailable("written"), self._writers.begin() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})"))
            yield connection

    def check(self) -> None:
        """Refuse a server that would not keep every text, warn of one that may lose changes.

        Raises:
            ConfigurationError: It is too old, or the database has another encoding than UTF-8.
            UnavailableError: It cannot be reached.
        """
        with self.read() as connection:
            version, encoding, fsync, commit = connection.execute(
                text(
                    "SELECT current_setting('server_version_num')::int / 10000, "
                    "current_setting('server_encoding'), current_setting('fsync'), "
                    "current_setting('synchronous_commit')"
                )
            ).one()
        if version < _VERSION_OLDEST:
            raise ConfigurationError(
                f"{self.name} is PostgreSQL {version}; {_VERSION_OLDEST} or newer is needed"
            )
        if encoding != "UTF8":
            raise ConfigurationError(
                f"{self.name} has the encoding {encoding}; the catalog needs one with UTF8"
            )
        if "off" in {fsync, commit}:
            _log.warning(
                "%s has fsync=%s and synchronous_commit=%s: a crash of its machine can lose "
                "keys and invoices that were answered",
                self.name,
                fsync,
                commit,
            )

    def change_stamp(self) -> None:
        """Return None: asking for the rows is no dearer than asking whether they changed."""

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _unavailable(self, what: str) -> Iterator[None]:
        """Say of an error that is the server's, and not the statement's, to ask again.

        Threads are few. They must not wait one after another for a machine that is gone.
        """
        begun_ns = self._clock.monotonic_ns()
        if begun_ns < self._away_until_ns:
            raise UnavailableError(f"the catalog cannot be {what} now")
        try:
            yield
        except PoolTimeoutError as error:
            raise UnavailableError(f"the catalog cannot be {what} now") from error
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None)
            of_the_server = isinstance(error, OperationalError) or error.connection_invalidated
            if not of_the_server and state != _READ_ONLY_TRANSACTION:
                raise
            now_ns = self._clock.monotonic_ns()
            if state is None and now_ns - begun_ns >= _SLOW_NS:
                self._away_until_ns = now_ns + _SLOW_NS
            # Who asks over HTTP must not learn where it is and who may open it.
            _log.warning("%s cannot be %s now: %s", self.name, what, str(error.orig).strip())
            raise UnavailableError(f"the catalog cannot be {what} now") from error


def _url(address: str) -> URL:
    try:
        url = make_url(address)
    except ArgumentError:
        url = None
    if url is None or url.drivername not in {"postgresql", "postgres"}:
        # Not with the value: a password may be in it.
        raise ConfigurationError("catalog must be a URL such as postgresql://user@host/database")
    return url.set(drivername="postgresql+psycopg")
