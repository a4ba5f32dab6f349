"""How long queries took, counted from any thread."""

from __future__ import annotations

import contextlib
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

import msgspec

BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Times(msgspec.Struct, kw_only=True):
    """Queries of one kind.

    Attributes:
        counts: How many took up to each of ``BOUNDS_S`` and more than the bound before; the last
            is of those beyond all bounds.
        total_s: How long all of them took together.
    """

    counts: list[int]
    total_s: float = 0.0


class QueryTimes:
    """Counts queries by kind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, Times] = {}

    @contextlib.contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Count the block as a query of a kind, also if it fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            took_s = time.perf_counter() - began
            with self._lock:
                times = self._times.get(kind)
                if times is None:
                    times = self._times[kind] = Times(counts=[0] * (len(BOUNDS_S) + 1))
                times.counts[bisect_left(BOUNDS_S, took_s)] += 1
                times.total_s += took_s

    def read(self) -> dict[str, Times]:
        """Return what was counted, by kind."""
        with self._lock:
            return {
                kind: Times(counts=list(times.counts), total_s=times.total_s)
                for kind, times in sorted(self._times.items())
            }
