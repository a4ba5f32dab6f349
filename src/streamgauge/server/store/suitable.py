"""What a ClickHouse server must have, so that a repeated insert is known as one."""

from __future__ import annotations

from typing import Final

from clickhouse_connect.driver.client import Client

from streamgauge.core.errors import ConfigurationError
from streamgauge.server.store.schema import INSERT_SETTINGS, SPANS

_SETTINGS: Final = (*INSERT_SETTINGS, "insert_deduplication_token", "insert_select_deduplicate")
_ENGINES: Final = {"events": "MergeTree"} | dict.fromkeys(SPANS, "AggregatingMergeTree")


def check_settings(client: Client) -> None:
    """Refuse a server or a user for whom inserts would not be what we ask for.

    Raises:
        ConfigurationError: The server does not know a setting, or the user may not change it.
    """
    rows = client.query(
        "SELECT name, readonly FROM system.settings WHERE name IN {names:Array(String)}",
        {"names": list(_SETTINGS)},
    ).result_rows
    readonly = {str(name): bool(fixed) for name, fixed in rows}
    if missing := sorted(set(_SETTINGS) - readonly.keys()):
        raise ConfigurationError(
            f"store is ClickHouse {client.server_version}, which lacks {', '.join(missing)}; a "
            "newer one is needed"
        )
    if fixed := sorted(name for name in _SETTINGS if readonly[name]):
        raise ConfigurationError(f"the user of store may not change {', '.join(fixed)}")


def check_tables(client: Client) -> None:
    """Refuse tables of another kind than those that were asked for.

    Raises:
        ConfigurationError: A table has another engine, as a replicated database gives it one.
    """
    rows = client.query(
        "SELECT name, engine FROM system.tables WHERE database = currentDatabase() "
        "AND name IN {names:Array(String)}",
        {"names": list(_ENGINES)},
    ).result_rows
    for name, engine in rows:
        if engine != _ENGINES[name]:
            raise ConfigurationError(
                f"the table {name} of store is a {engine}, not a {_ENGINES[name]}: replicas and "
                "other engines are not supported, since they would forget repeats"
            )
