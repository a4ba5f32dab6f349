"""Tables and engine settings.

The deduplication windows must be above zero, or the engine ignores tokens without a word. They
count blocks: one per insert, partition and view.
"""

from __future__ import annotations

from typing import Final

from streamgauge.core.limits import (
    DEDUPLICATION_WINDOW_EVENTS,
    DEDUPLICATION_WINDOW_ROLLUPS,
    INSERT_RESERVE_BYTES,
    SEGMENT_ROWS_MAX,
)

# A part that the engine reports as written must be on disk before its log segment may go.
_DURABLE: Final = (
    "fsync_after_insert = 1, fsync_part_directory = 1, "
    "min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1"
)

EVENTS: Final = f"""
CREATE TABLE IF NOT EXISTS events (
    business_id LowCardinality(String),
    mode LowCardinality(String),
    event_name LowCardinality(String),
    customer_id String,
    timestamp DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    event_id String CODEC(ZSTD(1)),
    metadata Map(String, String) CODEC(ZSTD(1)),
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    log_position UInt64 CODEC(Delta, ZSTD(1)),
    INDEX by_event_id event_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_log_position log_position TYPE minmax GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (business_id, mode, event_name, customer_id, timestamp)
SETTINGS non_replicated_deduplication_window = {DEDUPLICATION_WINDOW_EVENTS}, {_DURABLE}
"""

# The columns that a rollup needs are added when it is made. `minute` is the first one of a span.
_ROLLUP: Final = f"""(
    rollup_id UInt32,
    customer_id String CODEC(ZSTD(1)),
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    labels LowCardinality(String),
    events SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1))
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (rollup_id, customer_id, minute, labels)
SETTINGS non_replicated_deduplication_window = {DEDUPLICATION_WINDOW_ROLLUPS}, {_DURABLE}
"""

ORIGINS: Final = f"""
CREATE TABLE IF NOT EXISTS origins (origin String, since DateTime64(6, 'UTC'))
ENGINE = MergeTree ORDER BY (since, origin)
SETTINGS {_DURABLE}
"""
"""Which ingest log fills the store, where the store could be reached by others too."""

ARCHIVE: Final = f"""
CREATE TABLE IF NOT EXISTS archive (generation UInt64, state String)
ENGINE = ReplacingMergeTree(generation) ORDER BY tuple()
SETTINGS {_DURABLE}
"""
"""What was moved out of ``events`` into files; where the engine is in this process."""

SPANS: Final = ("minutes", "days", "months")
"""The tables of rollups; each is made from the one before, the first from events."""

ROLLUPS: Final = f"""
CREATE TABLE IF NOT EXISTS rollups (id UInt32, state UInt8, definition String)
ENGINE = ReplacingMergeTree(state) ORDER BY id
SETTINGS {_DURABLE}
"""

TABLES: Final = (
    EVENTS,
    *(f"CREATE TABLE IF NOT EXISTS {span} {_ROLLUP}" for span in SPANS),
    ROLLUPS,
)

INSERT_SETTINGS: Final[dict[str, str | int]] = {
    "async_insert": 0,
    "min_free_disk_bytes_to_perform_insert": INSERT_RESERVE_BYTES,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "materialized_views_ignore_errors": 0,
    "max_partitions_per_insert_block": 0,
    # A token names a whole insert, so an insert must always be cut into the same blocks: into one.
    "max_insert_threads": 1,
    "max_insert_block_size": SEGMENT_ROWS_MAX * 4,
    "min_insert_block_size_rows": SEGMENT_ROWS_MAX * 4,
    "min_insert_block_size_bytes": 0,
    "input_format_parallel_parsing": 0,
    "date_time_input_format": "best_effort",
}
