# ruff: noqa: S608 - Values go through compile.literal; the rest is our own text.
"""Events into Parquet files, each synced and read back before anybody relies on it."""

from __future__ import annotations

import contextlib
from typing import Final

from streamgauge.core.checksums import copied
from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import CorruptError
from streamgauge.core.limits import ARCHIVE_GROUP_BYTES, ARCHIVE_GROUP_ROWS
from streamgauge.server.archived import ArchivedFile
from streamgauge.server.store.engine import Engine
from streamgauge.server.store.view import View

# Sorted as the table is, so that what is asked for of one customer lies together. One thread, so
# that ingest has the others. Filters of as many bits as usual would be a quarter of a file; half of
# them pass over nine of ten groups that an id is not in.
_ORDER: Final = "business_id, mode, event_name, customer_id, timestamp, log_position"
_SETTINGS: Final = (
    "max_threads = 1, output_format_parquet_compression_method = 'zstd', "
    f"output_format_parquet_row_group_size = {ARCHIVE_GROUP_ROWS}, "
    f"output_format_parquet_row_group_size_bytes = {ARCHIVE_GROUP_BYTES}, "
    "output_format_parquet_bloom_filter_bits_per_value = 5"
)
_UNFINISHED: Final = ".new"


def write(
    engine: Engine, view: View, name: str, rows: str, *, metadata: str = "metadata"
) -> ArchivedFile:
    """Make a file of events of one month.

    Args:
        engine: Where they are.
        view: The state of the archive in which ``rows`` was made.
        name: Of the file; one that was left there unfinished is replaced.
        rows: The events, as SQL behind FROM.
        metadata: The SQL of their metadata, where it is not as it was.

    Returns:
        The file, synced with its directory; nobody reads it yet.

    Raises:
        CorruptError: The file does not give back what went into it.
        UnavailableError: The engine refuses.
        OSError: The disk refuses.
    """
    directory = OsDirectory(view.directory, create=True)
    directory.remove(name + _UNFINISHED)
    columns = ", ".join(metadata if each == "metadata" else each for each in view.names.split(", "))
    unfinished = view.directory / (name + _UNFINISHED)
    engine.run(
        f"INSERT INTO FUNCTION {view.file(unfinished.name)} "
        f"SELECT {columns} FROM {rows} ORDER BY {_ORDER} SETTINGS {_SETTINGS}"
    )
    unfinished.chmod(0o600)
    with contextlib.closing(directory.open(unfinished.name)) as file:
        file.sync()
    source = view.file(unfinished.name)
    if _fingerprint(engine, columns, rows) != (found := _fingerprint(engine, view.names, source)):
        raise CorruptError(unfinished.name, 0, f"it gives back other events ({found[0]} of them)")
    ((month, first_customer, last_customer, first_position, last_position),) = engine.rows(
        "SELECT formatDateTime(any(timestamp), '%Y-%m', 'UTC'), min(customer_id), "
        f"max(customer_id), min(log_position), max(log_position) FROM {source}"
    )
    size, blake2b = copied(unfinished, None)
    unfinished.rename(view.directory / name)
    directory.sync()
    return ArchivedFile(
        name=name,
        month=month,
        rows=found[0],
        size=size,
        blake2b=blake2b,
        first_customer=first_customer,
        last_customer=last_customer,
        first_position=first_position,
        last_position=last_position,
    )


def _fingerprint(engine: Engine, columns: str, rows: str) -> tuple[int, int]:
    """Return how many rows there are, and a number that changes with any value of any of them."""
    ((count, digest),) = engine.rows(
        f"SELECT count(), sum(sipHash64({columns})) FROM {rows} SETTINGS max_threads = 1"
    )
    return int(count), int(digest)
