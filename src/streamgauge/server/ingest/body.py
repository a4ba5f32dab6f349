"""Request bodies, decompressed within a bound."""

from __future__ import annotations

import zlib
from typing import Final

from streamgauge.core.errors import TooLargeError
from streamgauge.server.ingest.errors import MalformedBodyError, UnsupportedEncodingError

_GZIP: Final = zlib.MAX_WBITS | 16
# A body has one; empty ones by the million would cost seconds and never reach a bound of bytes.
_MEMBERS_MAX: Final = 100


class BodyReader:
    """Collects a body chunk by chunk; never holds more than ``bytes_max`` of it.

    Args:
        encoding: The Content-Encoding: ``gzip``, ``identity`` or empty.
        bytes_max: Bound of the body as sent and as decompressed.

    Raises:
        UnsupportedEncodingError: Compressed in another way.
    """

    def __init__(self, encoding: str, *, bytes_max: int) -> None:
        if encoding.strip().lower() not in {"", "identity", "gzip"}:
            raise UnsupportedEncodingError(
                f"Content-Encoding is {encoding[:80]!r}; it must be gzip, identity or absent"
            )
        self._gzip = zlib.decompressobj(_GZIP) if "gzip" in encoding.lower() else None
        self._bytes_max = bytes_max
        self._members = 1
        self._received = 0
        self._size = 0
        self._parts: list[bytes] = []

    @property
    def size(self) -> int:
        """Return how many bytes it holds, decompressed."""
        return self._size

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the request.

        Raises:
            TooLargeError: The body is over its bound.
            MalformedBodyError: It is no gzip stream.
        """
        self._received += len(chunk)
        self._check(self._received, "the body")
        if self._gzip is None:
            self._keep(chunk)
            return
        while chunk:
            if self._gzip.eof:
                # A gzip file may have several members; together they are one body.
                self._gzip = zlib.decompressobj(_GZIP)
                self._members += 1
                if self._members > _MEMBERS_MAX:
                    raise TooLargeError(f"the body has over {_MEMBERS_MAX} gzip members")
            try:
                self._keep(self._gzip.decompress(chunk, self._bytes_max - self._size + 1))
            except zlib.error as error:
                raise MalformedBodyError(f"the body is not gzip: {error}") from None
            chunk = self._gzip.unconsumed_tail or self._gzip.unused_data

    def body(self) -> bytes:
        """Return the whole body.

        Raises:
            MalformedBodyError: The gzip stream ends too early.
        """
        if self._gzip is not None and not self._gzip.eof:
            raise MalformedBodyError("the body is not gzip: it ends too early")
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        self._check(self._size, "the decompressed body")
        if part:
            self._parts.append(part)

    def _check(self, size: int, what: str) -> None:
        if size > self._bytes_max:
            raise TooLargeError(f"{what} is over {self._bytes_max} bytes")
