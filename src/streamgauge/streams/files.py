"""File-like objects, counted as they are read or written."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, overload

from streamgauge.core.errors import InvalidInputError
from streamgauge.sdk.session import StreamSession
from streamgauge.streams.iterables import session_of, size_of

if TYPE_CHECKING:
    from streamgauge.sdk.ingestion import Ingestion


class MeasuredFile:
    """A binary file whose bytes are counted, in whichever direction they pass.

    It has no ``fileno``: who would send or copy it behind its back (``sendfile``) reads instead.
    What is read twice is counted twice. Everything else is the file's own.

    Args:
        file: What is read or written.
        on_read: Told how many bytes were read.
        on_write: Told how many bytes were written.
        on_close: Told that it was closed.
    """

    def __init__(
        self,
        file: IO[bytes],
        *,
        on_read: Callable[[int], None],
        on_write: Callable[[int], None],
        on_close: Callable[[], None],
    ) -> None:
        self._file: Any = file
        self._on_read = on_read
        self._on_write = on_write
        self._on_close = on_close

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and count."""
        return self._read(self._file.read(size))

    def read1(self, size: int = -1, /) -> bytes:
        """Read with one call at most, and count."""
        return self._read(self._file.read1(size))

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read a line, and count."""
        return self._read(self._file.readline(size))

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        """Read lines, and count."""
        return [self._read(line) for line in self._file.readlines(hint)]

    def readall(self) -> bytes:
        """Read everything, and count."""
        return self._read(self._file.readall())

    def readinto(self, buffer: bytearray | memoryview, /) -> int | None:
        """Read into a buffer, and count."""
        return self._moved(self._file.readinto(buffer), self._on_read)

    def readinto1(self, buffer: bytearray | memoryview, /) -> int | None:
        """Read into a buffer with one call at most, and count."""
        return self._moved(self._file.readinto1(buffer), self._on_read)

    def write(self, data: bytes | bytearray | memoryview, /) -> int | None:
        """Write, and count what was taken."""
        taken: int | None = self._file.write(data)
        # Files that say nothing have taken all of it; raw ones say how much.
        self._on_write(size_of(data) if taken is None else taken)
        return taken

    def writelines(self, lines: Iterable[bytes], /) -> None:
        """Write each, and count."""
        for line in lines:
            self.write(line)

    def fileno(self) -> int:
        """Refuse.

        Raises:
            io.UnsupportedOperation: Always; bytes would pass uncounted.
        """
        raise io.UnsupportedOperation("the bytes of a measured file are counted as they pass")

    def close(self) -> None:
        """Close the file, and end what counts it."""
        try:
            self._file.close()
        finally:
            self._on_close()

    def _read(self, data: bytes) -> bytes:
        if data:
            self._on_read(len(data) if type(data) is bytes else size_of(data))
        return data

    def _moved(self, size: int | None, count: Callable[[int], None]) -> int | None:
        if size:
            count(size)
        return size

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._read(next(self._file))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the file has
        return getattr(self._file, name)


@overload
def measure_file(
    file: IO[bytes],
    ingestion: Ingestion,
    *,
    customer_id: str,
    metadata: Mapping[str, object] | None = None,
) -> MeasuredFile: ...


@overload
def measure_file(file: IO[bytes], ingestion: StreamSession) -> MeasuredFile: ...


def measure_file(
    file: IO[bytes],
    ingestion: Ingestion | StreamSession,
    *,
    customer_id: str | None = None,
    metadata: Mapping[str, object] | None = None,
) -> MeasuredFile:
    """Return ``file`` as one that counts every byte that is read from it or written to it.

    Args:
        file: A file-like object in binary mode.
        ingestion: Where to; or a session of it, which then ends when the file is closed.
        customer_id: Who pays; not with a session, which has a customer.
        metadata: What the bytes are, as for ``Ingestion.session``; not with a session.

    Raises:
        InvalidInputError: A value breaks a rule.
    """
    given: object = file
    if isinstance(given, io.TextIOBase):
        raise InvalidInputError("file", type(file).__name__, "be opened in binary mode")
    session = session_of(ingestion, customer_id, metadata)
    return MeasuredFile(file, on_read=session.add, on_write=session.add, on_close=session.close)
