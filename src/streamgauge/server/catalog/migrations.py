"""Forward-only changes of the catalog's tables, each with its record, in one transaction.

A migration that was released is never edited; the next change is a new one at the end.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from streamgauge.core.errors import ConfigurationError
from streamgauge.server.catalog.database import Database


class Migration(NamedTuple):
    """One change: a name and its statements."""

    name: str
    statements: tuple[str, ...]


_SCOPE: Final = "business_id TEXT NOT NULL, mode TEXT NOT NULL"

_FIRST: Final = Migration(
    "the first tables",
    (
        "CREATE TABLE businesses (business_id TEXT PRIMARY KEY, created_at BIGINT NOT NULL)",
        f"""CREATE TABLE api_keys ({_SCOPE}, id TEXT NOT NULL, name TEXT NOT NULL,
            writable BOOLEAN NOT NULL, hash TEXT NOT NULL UNIQUE, hint TEXT NOT NULL,
            created_at BIGINT NOT NULL, revoked_at BIGINT,
            PRIMARY KEY (business_id, mode, id))""",
        f"""CREATE TABLE customers ({_SCOPE}, customer_id TEXT NOT NULL, email TEXT NOT NULL,
            name TEXT NOT NULL, phone_number TEXT, metadata TEXT NOT NULL, preferred_locale TEXT,
            created_at BIGINT NOT NULL,
            PRIMARY KEY (business_id, mode, customer_id))""",
        "CREATE INDEX customers_by_email ON customers (business_id, mode, email)",
        f"""CREATE TABLE meters ({_SCOPE}, id TEXT NOT NULL, name TEXT NOT NULL,
            event_name TEXT NOT NULL, measurement_unit TEXT NOT NULL, aggregation TEXT NOT NULL,
            description TEXT, filter TEXT, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
            archived_at BIGINT,
            PRIMARY KEY (business_id, mode, id))""",
        f"""CREATE TABLE products ({_SCOPE}, product_id TEXT NOT NULL, name TEXT NOT NULL,
            description TEXT, tax_category TEXT NOT NULL, price TEXT NOT NULL,
            metadata TEXT NOT NULL, default_plan BOOLEAN NOT NULL, created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL, archived_at BIGINT,
            PRIMARY KEY (business_id, mode, product_id))""",
        f"""CREATE TABLE subscriptions ({_SCOPE}, subscription_id TEXT NOT NULL,
            customer_id TEXT NOT NULL, product_id TEXT NOT NULL, quantity INTEGER NOT NULL,
            price TEXT NOT NULL, billing TEXT NOT NULL, metadata TEXT NOT NULL, tax_id TEXT,
            started_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, ends_at BIGINT,
            cancelled_at BIGINT, created_at BIGINT NOT NULL, cancellation_comment TEXT,
            PRIMARY KEY (business_id, mode, subscription_id),
            FOREIGN KEY (business_id, mode, customer_id)
                REFERENCES customers (business_id, mode, customer_id),
            FOREIGN KEY (business_id, mode, product_id)
                REFERENCES products (business_id, mode, product_id))""",
        "CREATE INDEX subscriptions_by_customer ON subscriptions (business_id, mode, customer_id)",
        f"""CREATE TABLE invoices ({_SCOPE}, invoice_id TEXT NOT NULL, account TEXT NOT NULL,
            customer_id TEXT NOT NULL, period_start BIGINT NOT NULL, document TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            PRIMARY KEY (business_id, mode, invoice_id),
            UNIQUE (business_id, mode, account, period_start))""",
        "CREATE INDEX invoices_by_customer ON invoices (business_id, mode, customer_id)",
    ),
)

_STRICT: Final = Migration(
    "keys that demand Dodo's window of timestamps",
    ("ALTER TABLE api_keys ADD COLUMN strict_timestamps BOOLEAN NOT NULL DEFAULT FALSE",),
)

_KEY_SCOPES: Final = Migration(
    "keys that may read, write, or administer",
    (
        # What could write could also make and revoke keys.
        "ALTER TABLE api_keys ADD COLUMN scope TEXT NOT NULL DEFAULT 'admin'",
        "UPDATE api_keys SET scope = 'read' WHERE NOT writable",
        "ALTER TABLE api_keys DROP COLUMN writable",
    ),
)

_SECRET_CHECK: Final = Migration(
    "which secret the keys depend on",
    ("ALTER TABLE businesses ADD COLUMN secret_check TEXT",),
)

_FORGOTTEN: Final = Migration(
    "customers that were forgotten",
    (
        f"""CREATE TABLE forgotten_customers ({_SCOPE}, customer_id TEXT NOT NULL,
            asked_at BIGINT NOT NULL, done_at BIGINT,
            PRIMARY KEY (business_id, mode, customer_id))""",
    ),
)

MIGRATIONS: Final = (_FIRST, _STRICT, _KEY_SCOPES, _SECRET_CHECK, _FORGOTTEN)


def migrate(
    database: Database, now_us: int, migrations: tuple[Migration, ...] = MIGRATIONS
) -> list[str]:
    """Bring the tables up to date; return the names of what was applied.

    Raises:
        ConfigurationError: A newer release has written this catalog.
    """
    with database.write() as connection:
        done = _version(connection)
        if done > len(migrations):
            raise ConfigurationError(
                f"{database.name} has schema version {done}, this release knows up to "
                f"{len(migrations)}; start the release that wrote it, or a newer one"
            )
        for number, migration in enumerate(migrations[done:], start=done + 1):
            for statement in migration.statements:
                connection.exec_driver_sql(statement)
            connection.execute(
                text("INSERT INTO schema_versions VALUES (:number, :name, :applied_at)"),
                {"number": number, "name": migration.name, "applied_at": now_us},
            )
    return [migration.name for migration in migrations[done:]]


def _version(connection: Connection) -> int:
    connection.exec_driver_sql(
        "CREATE TABLE IF NOT EXISTS schema_versions "
        "(number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)"
    )
    found: int = connection.exec_driver_sql(
        "SELECT coalesce(max(number), 0) FROM schema_versions"
    ).scalar_one()
    return found
