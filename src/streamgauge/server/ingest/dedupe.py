"""Which event ids are known, for ever.

Ids minted by a spool are ``<writer>-<sequence>`` without gaps, so a writer costs one interval and
not one entry per event. Any other id is kept as a keyed 128-bit digest, about 100 bytes each: a
collision is out of reach also for who may choose ids. One thread uses it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from streamgauge.core.ids import split_event_id

_DIGEST_BYTES: Final = 16


class Runs:
    """A set of integers as disjoint intervals, in order."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._firsts, number) - 1
        return place >= 0 and number <= self._lasts[place]

    def __len__(self) -> int:
        return len(self._firsts)

    def add(self, first: int, last: int) -> None:
        """Add all of ``first`` to ``last``."""
        firsts, lasts = self._firsts, self._lasts
        if lasts and first == lasts[-1] + 1:
            lasts[-1] = last
            return
        low = bisect_right(firsts, first) - 1
        if low >= 0 and lasts[low] >= first - 1:
            first = firsts[low]
            last = max(last, lasts[low])
        else:
            low += 1
        high = bisect_right(firsts, last + 1, low)
        if high > low:
            last = max(last, lasts[high - 1])
        firsts[low:high] = [first]
        lasts[low:high] = [last]

    def intervals(self) -> list[tuple[int, int]]:
        """Return the intervals, in order."""
        return list(zip(self._firsts, self._lasts, strict=True))


class KnownIds:
    """The known event ids of one business and mode.

    Args:
        key: Secret of this process, at most 64 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._digests = blake2b(digest_size=_DIGEST_BYTES, key=key)
        self._writers: dict[str, Runs] = {}
        self._foreign: set[bytes] = set()

    def __contains__(self, event_id: str) -> bool:
        ours = split_event_id(event_id)
        if ours is None:
            return bool(self._foreign) and self._digest(event_id) in self._foreign
        runs = self._writers.get(ours[0])
        return runs is not None and ours[1] in runs

    def add(self, event_id: str) -> None:
        """Make an id known."""
        self.add_all((event_id,))

    def add_all(self, event_ids: Iterable[str]) -> None:
        """Make ids known; those of one writer in order cost one interval's work."""
        writer_id, first, last = "", 0, -1
        for event_id in event_ids:
            ours = split_event_id(event_id)
            if ours is None:
                self._foreign.add(self._digest(event_id))
            elif ours[0] == writer_id and ours[1] == last + 1:
                last += 1
            else:
                if writer_id:
                    self.add_run(writer_id, first, last)
                writer_id, first, last = ours[0], ours[1], ours[1]
        if writer_id:
            self.add_run(writer_id, first, last)

    def add_run(self, writer_id: str, first: int, last: int) -> None:
        """Make the ids ``first`` to ``last`` of a writer known."""
        runs = self._writers.get(writer_id)
        if runs is None:
            runs = self._writers[writer_id] = Runs()
        runs.add(first, last)

    def sizes(self) -> tuple[int, int]:
        """Return how many intervals and how many foreign ids are held."""
        return sum(map(len, self._writers.values())), len(self._foreign)

    def _digest(self, event_id: str) -> bytes:
        digest = self._digests.copy()
        digest.update(event_id.encode())
        return digest.digest()
