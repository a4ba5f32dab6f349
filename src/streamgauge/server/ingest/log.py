"""What ingest asks of its log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class IngestLog(Protocol):
    """An append-only log in numbered segments; a segment is what the store inserts at once.

    ``append`` and ``sync`` are called by one thread, everything else by another.
    """

    def append(self, record: bytes) -> None:
        """Append one batch of rows.

        Raises:
            OSError: It could not be written; the log is as before.
        """
        ...

    def sync(self) -> None:
        """Return when everything appended is on disk.

        Raises:
            OSError: It may not be; what was appended is kept, and the next call tries again.
        """
        ...

    def newest(self) -> int:
        """Return the newest segment with something on disk, 0 for none."""
        ...

    def next_segment(self) -> int:
        """Return the number of the next segment; none from here on was ever written."""
        ...

    def seal(self) -> None:
        """Start a new segment if the newest holds anything."""
        ...

    def sealed(self) -> list[int]:
        """Return the segments that will never change again, oldest first."""
        ...

    def read(self, segment: int) -> Iterator[bytes]:
        """Yield the records of a segment."""
        ...

    def remove(self, segment: int) -> None:
        """Remove a sealed segment."""
        ...

    def size_bytes(self) -> int:
        """Return the bytes of all segments."""
        ...

    def free_bytes(self) -> int:
        """Return how many bytes more its disk takes."""
        ...

    def mark(self) -> int:
        """Return the newest segment noted as inserted, 0 for none."""
        ...

    def set_mark(self, segment: int) -> None:
        """Note, durably, that everything up to ``segment`` is inserted."""
        ...

    def damage(self) -> list[str]:
        """Return what was found broken, and set aside, when the log was opened."""
        ...

    def close(self) -> None:
        """Release the log."""
        ...
