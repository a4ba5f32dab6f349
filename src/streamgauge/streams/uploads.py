"""The body of a WSGI request, counted as the application reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


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
