"""What ingest asks of its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol


class AppendLog(Protocol):
    """What accepts batches; ``append`` and ``sync`` are called by one thread."""

    @property
    def record_bytes_max(self) -> int:
        """Return how large a record may be."""
        ...

    def append(self, record: bytes) -> int:
        """Append one batch of rows, and return a number that no other one has since the start.

        Raises:
            OSError: It could not be written; the log is as before.
        """
        ...

    def sync(self) -> None:
        """Return when everything appended is safe: on disk, or with a quorum of nodes.

        Raises:
            OSError: It may not be; what was appended is kept, and the next call tries again.
            UnavailableError: The same, of nodes.
        """
        ...

    def newest(self) -> int:
        """Return the newest segment with something safe in it, 0 for none."""
        ...

    def size_bytes(self) -> int:
        """Return the bytes of all segments."""
        ...

    def free_bytes(self) -> int:
        """Return how many bytes more it takes."""
        ...


class IngestLog(AppendLog, Protocol):
    """An append-only log in numbered segments; a segment is what the store inserts at once.

    ``append`` and ``sync`` are called by one thread, everything else by another.
    """

    def next_segment(self) -> int:
        """Return the number of the next segment; none from here on was ever sealed or written."""
        ...

    def seal(self) -> None:
        """Start a new segment if the newest holds anything.

        Raises:
            OSError: It cannot be sealed; the same call may be made again.
            UnavailableError: The same, of nodes.
        """
        ...

    def sealed(self) -> list[int]:
        """Return the segments that will never change again, oldest first."""
        ...

    def read(self, segment: int) -> Iterator[bytes]:
        """Yield the records of a segment."""
        ...

    def remove(self, segment: int) -> None:
        """Remove a sealed segment; those before it were removed before."""
        ...

    def rewrite(self, through: int, change: Callable[[bytes], bytes]) -> list[str]:
        """Put ``change(record)``, never longer, in the place of each sealed record.

        Args:
            through: The last segment that is gone through.
            change: Says what is kept of a record.

        Returns:
            What cannot be gone through, and keeps records as they were.

        Raises:
            OSError: The disk refuses; the same call may be made again.
        """
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
