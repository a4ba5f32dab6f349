"""The connections to the event engine: one for inserts, a few for queries."""

from __future__ import annotations

import logging
import queue
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.server.store import schema, suitable, tokens
from streamgauge.server.store.address import address_of

_log: Final = logging.getLogger("streamgauge.server.store")

# Its codes for a value that does not fit a column: the same rows will never be taken.
_ROWS_AT_FAULT: Final = frozenset(
    {6, 25, 26, 27, 28, 33, 38, 41, 53, 69, 70, 72, 117, 131, 153, 190, 321, 349, 407, 467}
)
_CODE: Final = re.compile(r"Code: ([0-9]+)")


class RowsRefusedError(UnavailableError):
    """Some of the rows of an insert will never be taken.

    Attributes:
        engine_code: The engine's number for why.
    """

    def __init__(self, message: str, engine_code: int) -> None:
        super().__init__(message)
        self.engine_code = engine_code


class Engine:
    """An open engine.

    Args:
        dsn: ``chdb:///path/of/a/directory`` for the engine in this process, or
            ``clickhouse://user:password@host:port/database`` for a server.
        query_clients: How many queries may run at once.

    Raises:
        ConfigurationError: The address is neither, or the server would forget repeats.
        UnavailableError: It cannot be opened.
    """

    def __init__(self, dsn: str, *, query_clients: int) -> None:
        self._address = address_of(dsn)
        self._open: list[Client] = []
        self._queries: queue.Queue[Client] = queue.Queue()
        try:
            if self.directory is not None:
                tokens.take_back(self.directory)
            self._inserts = self._connect()
            for _ in range(query_clients):
                self._queries.put(self._connect())
            self._make_tables()
        except (ClickHouseError, OSError) as error:
            self.close()
            raise UnavailableError(f"the event engine does not open: {error}") from error
        except ConfigurationError:
            self.close()
            raise

    @property
    def directory(self) -> Path | None:
        """Return where its files are; None across a network."""
        return self._address.directory

    def insert(self, table: str, ndjson: bytes, token: str) -> None:
        """Insert rows given as JSON lines; a token that was inserted before changes nothing.

        Raises:
            RowsRefusedError: Rows are at fault.
            UnavailableError: The engine refuses; the same call may be made again.
        """
        settings = schema.INSERT_SETTINGS | {"insert_deduplication_token": token}
        with self._errors("an insert"):
            self._inserts.raw_insert(
                table,
                insert_block=ndjson,
                settings=settings,
                fmt="JSONEachRow",
            )

    def define(self, statement: str) -> None:
        """Run a statement that changes data or definitions, on the connection of the inserts.

        Raises:
            UnavailableError: The engine refuses.
        """
        with self._errors("a statement"):
            self._inserts.command(statement)

    def run(self, statement: str) -> None:
        """Run a statement that takes its time, beside inserts; waits for a free connection.

        Raises:
            UnavailableError: The engine refuses.
        """
        with self._errors("a statement"), self._query_client() as client:
            client.command(statement)

    def rows(
        self, query: str, parameters: Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return all rows of a query; waits for a free connection.

        Raises:
            UnavailableError: The engine refuses.
        """
        with self._errors("a query"), self._query_client() as client:
            return [tuple(row) for row in client.query(query, dict(parameters or {})).result_rows]

    def rows_at_once(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows of a short query, on the connection of the inserts: it waits for nobody.

        Raises:
            UnavailableError: The engine refuses.
        """
        with self._errors("a query"):
            return [tuple(row) for row in self._inserts.query(query).result_rows]

    def blocks(
        self, query: str, parameters: Mapping[str, Any] | None = None
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a large query block by block.

        Raises:
            UnavailableError: The engine refuses.
        """
        with self._errors("a query"), self._query_client() as client:
            stream = client.query_row_block_stream(query, dict(parameters or {}))
            with stream as blocks:
                for block in blocks:
                    yield [tuple(row) for row in block]

    def close(self) -> None:
        """Close every connection; the engine lets go of its directory."""
        for client in self._open:
            client.close()
        self._open.clear()

    def _connect(self) -> Client:
        client = clickhouse_connect.get_client(**self._address.options)
        self._open.append(client)
        return client

    def _make_tables(self) -> None:
        database = self._address.database
        # Who may not make databases can still be given one.
        if self._inserts.command(f"EXISTS DATABASE {database}") != 1:
            self._inserts.command(f"CREATE DATABASE IF NOT EXISTS {database}")
        for client in self._open:
            client.database = database
        if self._address.remote:
            suitable.check_settings(self._inserts)
        for table in schema.TABLES:
            self._inserts.command(table)
        if self._address.remote:
            suitable.check_tables(self._inserts)

    @contextmanager
    def _query_client(self) -> Iterator[Client]:
        client = self._queries.get()
        try:
            yield client
        finally:
            self._queries.put(client)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ClickHouseError, OSError) as error:
            code = _CODE.search(str(error))
            if code and int(code[1]) in _ROWS_AT_FAULT and what == "an insert":
                raise RowsRefusedError(
                    f"the event engine refused rows: {error}", int(code[1])
                ) from error
            # Who asks over HTTP must learn neither where it is nor what it was asked.
            _log.warning("the event engine refused %s: %s", what, error)
            said = f"code {code[1]}" if code else "it does not answer"
            raise UnavailableError(f"the event engine refused {what}: {said}") from error
