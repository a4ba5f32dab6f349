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
# Nothing was metered before; a timestamp below is a unit mix-up (seconds for milliseconds).
EPOCH_EARLIEST_S: Final = 1_420_070_400  # 2015-01-01T00:00:00Z

# One frame of the journal; above any batch and far below a segment.
JOURNAL_RECORD_BYTES_MAX: Final = 64 * 1024 * 1024

assert BODY_BYTES_MAX < JOURNAL_RECORD_BYTES_MAX
