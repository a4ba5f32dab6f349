"""Every bound, with its reason beside it."""

from __future__ import annotations

from typing import Final

# Dodo Payments' contract for POST /events/ingest.
BATCH_EVENTS_MAX: Final = 1_000
METADATA_PAIRS_MAX: Final = 50
METADATA_KEY_CHARS_MAX: Final = 100
METADATA_VALUE_CHARS_MAX: Final = 500

# The contract names no length for these; long enough for any id met so far, short enough for keys.
TEXT_ID_CHARS_MAX: Final = 255

# A column Decimal(76, 12) holds sums of 10^26 such values without overflow.
NUMBER_DIGITS_MAX: Final = 38
NUMBER_PLACES_MAX: Final = 12

# A full batch at every limit is about 33 MB; real ones are 220 bytes an event.
BODY_BYTES_MAX: Final = 16 * 1024 * 1024

# Dodo's own: clocks differ, but an event from further ahead is a mistake.
FUTURE_S_MAX: Final = 300
# Dodo's own, for keys that ask for it; others take events of any age.
STRICT_AGE_S_MAX: Final = 3_600
# Nothing was metered before; a timestamp below is a unit mix-up (seconds for milliseconds).
EPOCH_EARLIEST_S: Final = 1_420_070_400  # 2015-01-01T00:00:00Z

# One frame of the journal; above any batch and far below a segment.
JOURNAL_RECORD_BYTES_MAX: Final = 64 * 1024 * 1024

assert BODY_BYTES_MAX < JOURNAL_RECORD_BYTES_MAX

# Dodo's: the clauses of a filter, and filters inside one another.
FILTER_CLAUSES_MAX: Final = 10
FILTER_LEVELS_MAX: Final = 3

# Dodo's: its answers carry fixed prices and totals of a meter as int32.
INT32_MAX: Final = 2**31 - 1
# Dodo's account limit; its guide says 10 per product, its schema nothing.
METERS_PER_PRODUCT_MAX: Final = 50
# Dodo's: the longest life of a subscription; also keeps dates far from the calendar's end.
SUBSCRIPTION_YEARS_MAX: Final = 20
# 20 years of days.
PERIOD_COUNT_MAX: Final = 7_306

# Server: the ingest log and the store.
# One insert of the engine is one block up to here; above 100,000 rows an insert gets no cheaper.
SEGMENT_ROWS_MAX: Final = 262_144
# At about 230 bytes a row, some 100,000 rows; a shortest row has 98 bytes, so rows stay in bounds.
INGEST_SEGMENT_BYTES_MAX: Final = 24 * 1024 * 1024
# Blocks the engine remembers: one per insert, month and view. Ten thousand inserts of one month.
DEDUPLICATION_WINDOW_EVENTS: Final = 10_000
# The same with a hundred backfilled chunks for each.
DEDUPLICATION_WINDOW_ROLLUPS: Final = 1_000_000
# Sealed segments kept after their insert, in case the engine lost what it called written.
RETAINED_SEGMENTS_MAX: Final = 16
RETAINED_BYTES_MAX: Final = 128 * 1024 * 1024
# Foreign ids known in memory alone, some 100 bytes each; beyond, they go to a sorted file.
KNOWN_IDS_RECENT_MAX: Final = 262_144
# Log whose ids no snapshot has yet, read again at a start: seconds of a full load, and files.
UNCOVERED_BYTES_MAX: Final = 64 * 1024 * 1024
UNCOVERED_SEGMENTS_MAX: Final = 256
# Inserts of a segment's parts that the engine may refuse; then the rest is set aside whole.
SEGMENT_REFUSALS_MAX: Final = 2_000
# Rows of one backfilled chunk: one block, a second of work, a hundred megabytes.
BACKFILL_CHUNK_ROWS: Final = 500_000
# Values of a metadata key that a rollup keeps apart; one with more is kept as yes and no.
ROLLUP_KEY_VALUES_MAX: Final = 200
# Events looked at to tell how many values a key has; some ten milliseconds.
ROLLUP_SAMPLE_ROWS: Final = 100_000
# A month's bill, and a few days to look at it, read from the engine at full speed.
KEEP_EVENTS_DAYS_MIN: Final = 35
# Of one Parquet file: twenty seconds to write beside ingest, and to write again when a customer is
# forgotten; a stop waits for it.
ARCHIVE_FILE_ROWS: Final = 4_000_000
# Files with fewer are written again together with what came late, so that there are few.
ARCHIVE_SMALL_ROWS: Final = 1_000_000
# Within it, what is read at least of a customer's events; and the memory it takes to write.
ARCHIVE_GROUP_ROWS: Final = 131_072
ARCHIVE_GROUP_BYTES: Final = 64 * 1024 * 1024
# Events that came for archived months; fewer wait until the next month is archived.
ARCHIVE_LATE_ROWS_MIN: Final = 1_000_000
# How long archiving waits for queries that began before it; a longer one puts it off.
ARCHIVE_UNREAD_S: Final = 120
# Between looks whether there is something to archive.
RETENTION_INTERVAL_S: Final = 3_600
# Each holds a connection to the engine; two cores gain nothing from more.
STORE_QUERIES_AT_ONCE: Final = 4
# Each multiplies the rows of an answer, and nobody reads a table of more.
GROUP_KEYS_MAX: Final = 5
# A page of the longest events is some 33 MB, held in memory; paging scans what it skips.
EVENTS_PAGE_MAX: Final = 1_000
EVENTS_PAGE_NUMBER_MAX: Final = 1_000_000
# Free space below which nothing new is accepted, so that what is accepted can still be inserted.
DISK_RESERVE_BYTES: Final = 128 * 1024 * 1024
# Free space below which the engine begins no insert; one with its rollups takes less. An insert
# that runs out of space may leave the engine thinking that it holds what it does not.
INSERT_RESERVE_BYTES: Final = 64 * 1024 * 1024
# Accepted but not on disk; some 200,000 events, a second of a fast disk.
COMMIT_QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
# On disk but not in the engine; a day of an engine that refuses, at a thousand events a second.
INGEST_LOG_BYTES_MAX: Final = 24 * 1024 * 1024 * 1024
# Read from a stream at once; a hundred batches of a thousand events.
STREAM_READ_BYTES_MAX: Final = 24 * 1024 * 1024
# Records of a stream whose ids no snapshot has yet: some seconds to read again at a start.
UNCOVERED_RECORDS_MAX: Final = 65_536
# A repeat waits this long for its original; beyond, the client tries again.
COMMIT_WAIT_S: Final = 20.0

# The largest meter the rules allow is some 100 kB; only events need more.
API_BODY_BYTES_MAX: Final = 1024 * 1024
# Dodo's paging of every list but events.
PAGE_SIZE_DEFAULT: Final = 10
PAGE_SIZE_MAX: Final = 100
# Far above any catalog, and its product with a page still fits SQLite's 64-bit offset.
PAGE_NUMBER_MAX: Final = 1_000_000_000
# The contract names no lengths; these keep a catalog row within a few kilobytes.
NAME_CHARS_MAX: Final = 255
DESCRIPTION_CHARS_MAX: Final = 1_000
# Keys in use at once, kept in memory while the catalog is unchanged; some 200 bytes each.
KEYS_CACHED_MAX: Final = 4_096

# The SDK's requests: a host that does not answer SYN is down; a batch is committed in milliseconds.
CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 60.0
# An answer to a batch names at most 1,000 events with a reason each; more is not from our peers.
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
# A mistaken Retry-After must not stop delivery for longer than people notice.
RETRY_AFTER_S_MAX: Final = 600.0

# Dodo takes timestamps of the last hour; ten minutes are for clocks and for the way.
LATE_S_MAX: Final = 3_000
# And of the next five minutes; one is for clocks and for the way.
STAMP_AHEAD_S_MAX: Final = 240
# What the date of an answer may be off by without the clock being wrong.
SKEW_S_MIN: Final = 60
# Questions, one request each, before a batch is halved instead: Dodo takes 40 requests a second.
ASKED_AT_ONCE_MAX: Final = 20
# How far back a file of events looks for a repeat: several full batches of a crashed deliverer.
JSONL_TAIL_EVENTS: Final = 10_000
JSONL_TAIL_BYTES: Final = 16 * 1024 * 1024

# Command line: an answer is held in memory; a page of the longest events is some 33 MB.
CLI_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024

# The SDK's tally page: some 5,000 slots of 64 bytes with a usual descriptor, made in 0.1 ms.
TALLY_PAGE_BYTES: Final = 1024 * 1024
# Pages in memory while the disk takes none: some 300,000 slots, 64 MiB of the host's memory.
TALLY_MEMORY_PAGES_MAX: Final = 64
# Of one call: exact in every JSON parser that its event may meet, and far above any chunk.
QUANTITY_BYTES_MAX: Final = 2**53 - 1
# Groups of customer and metadata with an open window: twice the streams that one process holds.
# Beyond, the window ends early.
OPEN_GROUPS_MAX: Final = 200_000
# Of a group's text in each of its sessions; a larger one is kept once for all of a window. Metadata
# of 256 bytes, an event name and a customer id fit.
DESCRIPTOR_OWN_BYTES_MAX: Final = 384
# Events made in one go, of so many slots read in one go: for less than a millisecond each nobody
# else gets a slot.
EVENTS_MADE_AT_ONCE: Final = 32
SLOTS_READ_AT_ONCE: Final = 512
# Events in memory until they are synced, while those of a window are made.
EVENTS_UNSYNCED_MAX: Final = 4_096
# Small enough to be read whole for a batch, large enough to be removed seldom.
SPOOL_SEGMENT_BYTES_MAX: Final = 4 * 1024 * 1024
# A checkpoint takes one block; the others are for what threads write at the same instant.
SPOOL_RESERVE_BYTES: Final = 64 * 1024
# A sink that is away for long must not fill the host's disk or memory; beyond, events are refused.
SPOOL_BYTES_MAX: Final = 16 * 1024 * 1024 * 1024
SPOOL_MEMORY_BYTES_MAX: Final = 256 * 1024 * 1024
# Events that the disk refused for now, kept in memory until it takes them again.
SPOOL_BACKLOG_EVENTS_MAX: Final = 100_000
# Refused events are kept to be read by people; the oldest go first.
DEAD_LETTERS_BYTES_MAX: Final = 64 * 1024 * 1024
# A delivered body stays below what servers take; a full usual batch is 0.3 MB.
DELIVERY_BYTES_MAX: Final = 4 * 1024 * 1024
# Each holds three descriptors of the host, which may have no more than 256 in all.
ADOPTED_AT_ONCE_MAX: Final = 16
# Live processes whose spools one of them delivers: far more than workers of one machine, and one
# descriptor each.
SIBLINGS_MAX: Final = 512
# A flush in a process that does not deliver looks this often whether it was heard.
FOLLOW_INTERVAL_S: Final = 0.05
# The wait between looks for spools of processes that are gone; each look is a directory listing.
ADOPTION_INTERVAL_S: Final = 60
# A key that was not accepted is tried again this often at most.
AUTH_RETRY_S: Final = 60
# A viewer waits for the first byte meanwhile; a lookup in a cache or database takes milliseconds.
CUSTOMER_WAIT_S: Final = 5.0
# As frameworks have it: far above any form, and a crowd of fields must not cost time.
QUERY_FIELDS_MAX: Final = 1_000
# Of a secret that signs customers: what HMAC-SHA256 puts out, so that guessing gains nothing.
SECRET_BYTES_MIN: Final = 32
# The longest id in base64url, an expiry and a signature; longer texts are not looked at.
SIGNED_CUSTOMER_CHARS_MAX: Final = 1_500
# A leap year: a signature that is to live longer should be made again.
SIGNED_CUSTOMER_S_MAX: Final = 366 * 24 * 60 * 60
# nginx takes an upstream's head of 4 KiB unless it is told otherwise; others share it.
BILL_HEADER_BYTES_MAX: Final = 3_000
# A line of nginx's log: four bytes for each of its longest header, and the rest.
LOG_LINE_BYTES_MAX: Final = 64 * 1024
# Ended connections whose lines were not read yet: minutes at a thousand a second, 64 MB.
ENDS_KEPT_MAX: Final = 200_000
# A connection that asks for nothing for so long; nginx closes one after 75 s unless it is told
# otherwise. Meanwhile the log is read again from its last line, and ids after that are kept.
NGINX_QUIET_S_MAX: Final = 600
# One line a minute per cause says enough in a log.
LOG_INTERVAL_S: Final = 60
# Directories listed as left alone; a planted crowd must not fill memory.
LEFT_ALONE_MAX: Final = 100
# A query that needs fresh events waits this long for the store; normally some milliseconds.
CAUGHT_UP_WAIT_S: Final = 15.0
# Blocking calls to store and catalog at once; each may hold a connection.
POOL_THREADS_MAX: Final = 8
# A ClickHouse server across a network: to connect, and to say anything more of an answer.
STORE_CONNECT_S: Final = 5
STORE_ANSWER_S: Final = 120
# Where the catalog is across a network: a look-up takes a millisecond, and ingest waits for it.
KEY_THREADS: Final = 4
# Sockets of clients at once; fewer where the process may open fewer than twice as many files.
CONNECTIONS_MAX: Final = 10_000
# From its first byte to its last; a full body of 16 MiB takes that long at 1 Mbit/s.
REQUEST_ARRIVAL_S: Final = 135.0
# From the first byte that waits for the client to none; a page of 33 MB takes that at 2 Mbit/s.
ANSWER_TAKEN_S: Final = 135.0
# Request line and headers; the longest path and query of ours have some 10 KiB.
HEAD_BYTES_MAX: Final = 64 * 1024
# Bodies of events that are arriving, in memory, of all clients: 16 of the longest.
BODIES_BYTES_MAX: Final = 256 * 1024 * 1024
# How long a stop waits for answers, for the disk and for the running insert.
STOP_S: Final = 20.0

# One answer of /v1/usage: every customer of a company of the size we build for, by one group.
USAGE_ROWS_MAX: Final = 100_000

# An answer to who asks that a customer be forgotten; a large store goes on with it.
FORGET_WAIT_S: Final = 20.0

# Answering later than a client waits (60 s in the official SDKs) would have the meter made twice.
ROLLUP_WAIT_S: Final = 5

# Viewers of one process at once and more; a session is about 1.5 KiB.
PLAYBACK_SESSIONS_MAX: Final = 100_000
# Renditions of a title and their codecs; a careless quality must not fill memory.
PLAYBACK_QUALITIES_MAX: Final = 32
# Of the manifests that an application serves: a whole day of a title in 10 renditions.
MANIFEST_SEGMENTS_MAX: Final = 200_000
MANIFEST_TEMPLATES_MAX: Final = 10_000
# A live window of hours with a line per part; parsing it takes a tenth of a second.
MANIFEST_CHARS_MAX: Final = 4 * 1024 * 1024
# Topics of MQTT whose payer is remembered; beyond, the one unused longest is asked about again.
MQTT_TOPICS_MAX: Final = 10_000
# A payer that could not be looked up is asked for again this much later: a database that restarts
# is back, and one that is down is not asked for every message.
PAYER_RETRY_S: Final = 10
