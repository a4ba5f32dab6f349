"""Segments of the log into the store, each once, and out of the log when they are safe there."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from streamgauge.core.limits import (
    RETAINED_BYTES_MAX,
    RETAINED_SEGMENTS_MAX,
    SEGMENT_REFUSALS_MAX,
)
from streamgauge.server.ingest.log import IngestLog
from streamgauge.server.ingest.quarantine import Quarantine
from streamgauge.server.ingest.rows import numbered
from streamgauge.server.store import EventStore, RowsRefusedError
from streamgauge.server.store.segments import log_position

_log: Final = logging.getLogger("streamgauge.server.ingest")


class Inserter:
    """Inserts sealed segments; one thread uses it.

    Args:
        log: What to insert.
        store: Where to.
        quarantine: Where rows go that the store will never take.
        covered: Returns the last segment that nobody else needs.

    Attributes:
        inserted: The newest segment that is in the store.
        rows: How many rows were inserted since the start.
        damage: What the store holds otherwise than it should.
    """

    def __init__(
        self, log: IngestLog, store: EventStore, quarantine: Quarantine, covered: Callable[[], int]
    ) -> None:
        self._log = log
        self._store = store
        self._quarantine = quarantine
        self._covered = covered
        self._retained: deque[tuple[int, int, int]] = deque()
        self._proved = 0
        self.inserted = log.mark()
        self.rows = 0
        self.damage: list[str] = []

    def recover(self) -> int:
        """Insert what the store lacks of the log, and return how many rows these segments hold.

        Raises:
            UnavailableError: The store refuses.
        """
        segments = self._log.sealed()
        stored = self._store.rows_of_segments(segments[0]) if segments else {}
        # A removal that did not last brings segments back whose rows are archived by now.
        self._proved = archived = self._store.archived_segment()
        replayed = 0
        for segment in segments:
            lines = self._lines(segment)
            missing = len(lines) - stored.get(segment, 0) - self._quarantine.rows(segment)
            # Beyond the mark a rollup may lack what the events have, so the token decides.
            if segment > archived and (missing or segment > self.inserted):
                self._insert(segment, lines)
                replayed += len(lines)
            self._keep(segment, lines)
        return replayed

    def insert(self, segment: int) -> None:
        """Insert the next segment.

        Raises:
            UnavailableError: The store refuses; the same call may be made again.
            OSError: The disk refuses; the same call may be made again.
        """
        lines = self._lines(segment)
        self._insert(segment, lines)
        self.rows += len(lines)
        self._keep(segment, lines)

    def trim(self) -> None:
        """Remove segments that nobody needs, once the store has given back all of their rows.

        By then their parts are on disk: the engine syncs a part before it answers, and a merged one
        before it removes what it was made of. Some are kept all the same.
        """
        covered = self._covered()
        while (
            len(self._retained) > RETAINED_SEGMENTS_MAX
            or sum(size for _, _, size in self._retained) > RETAINED_BYTES_MAX
        ) and self._retained[0][0] <= min(covered, self._retained[-1][0] - 1):
            segment = self._retained[0][0]
            if segment > self._proved and not self._prove():
                return
            self._log.remove(segment)
            self._quarantine.forget_parts(segment)
            self._retained.popleft()

    def _lines(self, segment: int) -> list[bytes]:
        return numbered(self._log.read(segment), log_position(segment, 0))

    def _insert(self, segment: int, lines: list[bytes]) -> None:
        if not self._quarantine.is_in_parts(segment):
            try:
                self._store.insert(segment, b"\n".join(lines), len(lines))
            except RowsRefusedError:
                if self._store.rows_of_segments(segment, segment):
                    # A rollup refuses what the events have: parts would be stored twice.
                    raise
                self._quarantine.note_parts(segment)
        if self._quarantine.is_in_parts(segment):
            self._insert_parts(segment, lines)
        if segment > self.inserted:
            self._log.set_mark(segment)
            self.inserted = segment

    def _insert_parts(self, segment: int, lines: list[bytes]) -> None:
        """Insert halves of halves, until the rows at fault are alone; set these aside."""
        parts, refusals = [(0, len(lines))], 0
        while parts:
            first, end = parts.pop()
            part = lines[first:end]
            try:
                name = f"{first}-{end}"
                self._store.insert(segment, b"\n".join(part), len(part), part=name)
            except RowsRefusedError as error:
                refusals += 1
                if len(part) > 1 and refusals < SEGMENT_REFUSALS_MAX:
                    middle = (first + end) // 2
                    parts += [(middle, end), (first, middle)]
                    continue
                _log.error(
                    "the store does not take %d rows of segment %d; they are set aside: %s",
                    len(part), segment, error,
                )  # fmt: skip
                self._quarantine.set_aside(segment, first, part, str(error))

    def _keep(self, segment: int, lines: list[bytes]) -> None:
        self._retained.append((segment, len(lines), sum(map(len, lines))))

    def _prove(self) -> bool:
        """Return whether the store gives back as many rows of retained segments as they have."""
        first, last = self._retained[0][0], self._retained[-1][0]
        stored = self._store.rows_of_segments(first, last)
        for segment, rows, _ in self._retained:
            held = stored.get(segment, 0)
            if held + self._quarantine.rows(segment) != rows:
                text = f"segment {segment} has {rows} events, and the store holds {held} of it"
                if text not in self.damage:
                    self.damage.append(text)
                    _log.error("%s; the ingest log is kept", text)
                return segment > first
            self._proved = segment
        return True
