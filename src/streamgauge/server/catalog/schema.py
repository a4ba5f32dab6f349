"""The catalog's tables as queries see them; ``migrations`` makes them.

Business and mode lead every key. Instants are whole microseconds since 1970, values with a shape of
their own are JSON texts of their structs.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Dialect, Integer, MetaData, Table, Text
from sqlalchemy.types import TypeDecorator

from streamgauge.core.clock import to_ns, utc

metadata: Final = MetaData()


class Instant(TypeDecorator[datetime]):
    """An aware datetime, kept as microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Return what is stored."""
        del dialect
        return None if value is None else to_ns(value) // 1_000

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return what was stored."""
        del dialect
        return None if value is None else utc(value * 1_000)


def _scoped(name: str, key: str, *columns: Column[object]) -> Table:
    return Table(
        name,
        metadata,
        Column("business_id", Text, primary_key=True),
        Column("mode", Text, primary_key=True),
        Column(key, Text, primary_key=True),
        *columns,
    )


businesses: Final = Table(
    "businesses",
    metadata,
    Column("business_id", Text, primary_key=True),
    Column("created_at", Instant),
    Column("secret_check", Text),
)
api_keys: Final = _scoped(
    "api_keys",
    "id",
    Column("name", Text),
    Column("scope", Text),
    Column("strict_timestamps", Boolean),
    Column("hash", Text),
    Column("hint", Text),
    Column("created_at", Instant),
    Column("revoked_at", Instant),
)
customers: Final = _scoped(
    "customers",
    "customer_id",
    Column("email", Text),
    Column("name", Text),
    Column("phone_number", Text),
    Column("metadata", Text),
    Column("preferred_locale", Text),
    Column("created_at", Instant),
)
meters: Final = _scoped(
    "meters",
    "id",
    Column("name", Text),
    Column("event_name", Text),
    Column("measurement_unit", Text),
    Column("aggregation", Text),
    Column("description", Text),
    Column("filter", Text),
    Column("created_at", Instant),
    Column("updated_at", Instant),
    Column("archived_at", Instant),
)
products: Final = _scoped(
    "products",
    "product_id",
    Column("name", Text),
    Column("description", Text),
    Column("tax_category", Text),
    Column("price", Text),
    Column("metadata", Text),
    Column("default_plan", Boolean),
    Column("created_at", Instant),
    Column("updated_at", Instant),
    Column("archived_at", Instant),
)
subscriptions: Final = _scoped(
    "subscriptions",
    "subscription_id",
    Column("customer_id", Text),
    Column("product_id", Text),
    Column("quantity", Integer),
    Column("price", Text),
    Column("billing", Text),
    Column("metadata", Text),
    Column("tax_id", Text),
    Column("started_at", Instant),
    Column("expires_at", Instant),
    Column("ends_at", Instant),
    Column("cancelled_at", Instant),
    Column("created_at", Instant),
    Column("cancellation_comment", Text),
)
