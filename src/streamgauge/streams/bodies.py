"""Bodies of WSGI: a response's, counted as the server takes it, and a request's, as it is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol


class Counting(Protocol):
    """Counts what a body has."""

    def count_chunk(self, chunk: object) -> None:
        """Count a chunk that the server takes now."""
        ...

    def last(self) -> None:
        """Note that the application has sent everything."""
        ...

    def end(self) -> None:
        """Note that the application has nothing more to say."""
        ...

    def drop(self) -> None:
        """Have it end soon, without waiting for anything."""
        ...


class Chunks:
    """Hands on the chunks of an application and counts them."""

    __slots__ = ("_close", "_next", "_response")

    def __init__(self, response: Counting, source: Iterable[bytes]) -> None:
        self._response = response
        self._close = getattr(source, "close", None)
        self._next = iter(source).__next__

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = self._next()
        except StopIteration:
            self._response.last()
            raise
        self._response.count_chunk(chunk)
        return chunk

    def close(self) -> None:
        """Close the source, if it can be closed; then the application is done."""
        try:
            if self._close is not None:
                self._close()
        finally:
            self._response.end()

    def __del__(self) -> None:
        # A server that neither takes nor closes it has nothing more to send. The collector may
        # run under any lock of any thread, so another one ends it.
        self._response.drop()


class SizedChunks(Chunks):
    """The same of a list: some servers make a Content-Length of a single chunk."""

    __slots__ = ("_size",)

    def __init__(self, response: Counting, source: Iterable[bytes]) -> None:
        super().__init__(response, source)
        self._size = len(source)  # type: ignore[arg-type] # Only what has a length comes here.

    def __len__(self) -> int:
        return self._size


class CountedInput:
    """A ``wsgi.input`` that counts; what it does not know of, the server's own does."""

    __slots__ = ("_count", "_input")

    def __init__(self, stream: Any, count: Callable[[int], None]) -> None:  # noqa: ANN401
        self._input = stream
        self._count = count

    def read(self, *size: int) -> bytes:
        """Read like the server's own."""
        return self._counted(self._input.read(*size))

    def readline(self, *size: int) -> bytes:
        """Read a line like the server's own."""
        return self._counted(self._input.readline(*size))

    def readlines(self, *hint: int) -> list[bytes]:
        """Read lines like the server's own."""
        lines: list[bytes] = self._input.readlines(*hint)
        self._count(sum(map(len, lines)))
        return lines

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - anything writable
        """Read like the server's own, if that can."""
        size: int = self._input.readinto(buffer)
        self._count(size)
        return size

    def __iter__(self) -> Iterator[bytes]:
        return map(self._counted, self._input)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a server's own
        return getattr(self._input, name)

    def _counted(self, data: bytes) -> bytes:
        if data:
            self._count(len(data))
        return data


def file_size(wrapped: Any, length: int | None) -> int | None:  # noqa: ANN401 - a server's own
    """Return how much of a wrapped file is sent; None: nobody knows before it is read."""
    file = getattr(wrapped, "filelike", wrapped)
    try:
        number = file.fileno()
        left = os.fstat(number).st_size - os.lseek(number, 0, os.SEEK_CUR)
    except (AttributeError, OSError, ValueError):
        # Servers read such files like any other iterable.
        return None
    return max(left, 0) if length is None else min(length, max(left, 0))
