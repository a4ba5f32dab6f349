"""Sets of integers as intervals: what a writer's sequences are remembered as."""

from __future__ import annotations

from array import array
from bisect import bisect_right


class Runs:
    """A set of integers from 0 to 2**63 - 1 as disjoint intervals, 16 bytes each, in order."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts = array("q")
        self._lasts = array("q")

    def __contains__(self, number: int) -> bool:
        return self.meets(number, number)

    def __len__(self) -> int:
        return len(self._firsts)

    def meets(self, first: int, last: int) -> bool:
        """Tell whether any of ``first`` to ``last`` is in the set."""
        place = bisect_right(self._firsts, last) - 1
        return place >= 0 and first <= self._lasts[place]

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
        firsts[low:high] = array("q", (first,))
        lasts[low:high] = array("q", (last,))

    def intervals(self) -> list[tuple[int, int]]:
        """Return the intervals, in order."""
        return list(zip(self._firsts, self._lasts, strict=True))

    def packed(self) -> bytes:
        """Return the set as bytes."""
        return self._firsts.tobytes() + self._lasts.tobytes()

    @classmethod
    def unpacked(cls, data: bytes) -> Runs:
        """Return the set that ``packed`` made bytes of."""
        runs = cls()
        runs._firsts.frombytes(data[: len(data) // 2])
        runs._lasts.frombytes(data[len(data) // 2 :])
        return runs
