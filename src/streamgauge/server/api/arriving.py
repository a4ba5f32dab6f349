"""Bodies of events while they arrive: each bounded, and all of them together."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from streamgauge.core.errors import UnavailableError
from streamgauge.core.limits import BODIES_BYTES_MAX, BODY_BYTES_MAX
from streamgauge.server.ingest.body import BodyReader


class Bodies:
    """Reads bodies; for one thread.

    Args:
        bytes_max: What all that are arriving may hold in memory, as sent.
    """

    def __init__(self, bytes_max: int = BODIES_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0

    async def read(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the decompressed body, or None if the client left.

        Raises:
            TooLargeError: It is over its bound, as sent or as decompressed.
            MalformedBodyError: It is no gzip stream.
            UnsupportedEncodingError: It is compressed in another way.
            UnavailableError: All that are arriving are over theirs; this one is let go.
        """
        encoding = Headers(scope=scope).get("content-encoding", "")
        reader = BodyReader(encoding, bytes_max=BODY_BYTES_MAX)
        held = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                before = reader.size
                reader.feed(message.get("body", b""))
                held += reader.size - before
                self._bytes += reader.size - before
                if not message.get("more_body", False):
                    return reader.body()
                if self._bytes > self._bytes_max:
                    raise UnavailableError("too many bodies are arriving at once")
        finally:
            self._bytes -= held
