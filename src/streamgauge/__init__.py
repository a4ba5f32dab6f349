"""Bill customers for the bytes they stream.

In come bytes, counted where they move; out go usage events, to Dodo Payments or to our server.
What was counted survives the process, and every byte is delivered as one event's, once.
"""

from streamgauge._version import __version__
from streamgauge.core.errors import ConfigurationError, InvalidInputError, StreamgaugeError
from streamgauge.sdk.ingestion import Ingestion
from streamgauge.sdk.session import StreamSession
from streamgauge.sdk.stats import Adopted, Durability, Stats
from streamgauge.sdk.stream import track_stream_bytes
from streamgauge.streams.files import measure_file
from streamgauge.streams.iterables import measure
from streamgauge.streams.middleware import StreamBytesMiddleware
from streamgauge.streams.payers import bill_to

__all__ = [
    "Adopted",
    "ConfigurationError",
    "Durability",
    "Ingestion",
    "InvalidInputError",
    "Stats",
    "StreamBytesMiddleware",
    "StreamSession",
    "StreamgaugeError",
    "__version__",
    "bill_to",
    "measure",
    "measure_file",
    "track_stream_bytes",
]
