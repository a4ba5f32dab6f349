"""Events that no sink will take, kept with the reason for people to read."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator

from streamgauge.core.files import Directory
from streamgauge.core.journal import Journal
from streamgauge.core.limits import (
    DEAD_LETTERS_BYTES_MAX,
    SPOOL_BYTES_MAX,
    SPOOL_SEGMENT_BYTES_MAX,
)
from streamgauge.sdk.identity import DEAD_LETTERS_NAME
from streamgauge.sdk.records import DeadLetter, decode_letter, encode_record


class DeadLetters:
    """The refused events of one spool, in a directory that is made with the first of them.

    Args:
        spool: The spool's directory.
        name: The directory in it.
        keeps_all: Whether none goes for the next: held events are still to be billed.
    """

    def __init__(
        self, spool: Directory, name: str = DEAD_LETTERS_NAME, *, keeps_all: bool = False
    ) -> None:
        self._spool = spool
        self._name = name
        self._keeps_all = keeps_all
        self._journal: Journal | None = None

    def keep(self, letters: Iterable[DeadLetter]) -> int:
        """Put letters on disk and return how many old segments had to go for them.

        Raises:
            OSError: The disk refuses.
        """
        journal = self._open(create=True)
        assert journal is not None
        if self._keeps_all and journal.size_bytes() > SPOOL_BYTES_MAX:
            raise OSError(errno.ENOSPC, "there is no room for more held events")
        for letter in letters:
            journal.append(encode_record(letter))
        journal.sync()
        removed = 0
        while (
            not self._keeps_all
            and journal.size_bytes() > DEAD_LETTERS_BYTES_MAX
            and len(journal.segments()) > 1
        ):
            journal.remove(journal.segments()[0])
            removed += 1
        return removed

    def read(self) -> Iterator[DeadLetter]:
        """Yield the letters, oldest first; one that was refused twice comes twice."""
        journal = self._open(create=False)
        if journal is None:
            return
        for segment in journal.segments():
            for _, record in journal.read(segment):
                yield decode_letter(record)

    def close(self) -> None:
        """Release the files."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _open(self, *, create: bool) -> Journal | None:
        if self._journal is None:
            with contextlib.suppress(FileNotFoundError):
                child = self._spool.child(self._name, create=create)
                self._journal = Journal(child, segment_bytes_max=SPOOL_SEGMENT_BYTES_MAX)
                self._spool.sync()
        return self._journal
