"""The set itself: what came last in memory, then the files, newest last."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

import numpy as np

from streamgauge.server.ingest.digests.file import DigestFile
from streamgauge.server.ingest.digests.filter import bits_of


class DigestIndex:
    """A set of 128-bit digests; one thread asks and adds, another brings files.

    Args:
        files: Those on disk.
    """

    def __init__(self, files: Sequence[DigestFile] = ()) -> None:
        self._recent: set[bytes] = set()
        self._frozen: set[bytes] = set()
        self._files = list(files)
        self._brought: deque[tuple[DigestFile, list[DigestFile]]] = deque()

    def __len__(self) -> int:
        return len(self._recent) + len(self._frozen) + sum(file.size for file in self._files)

    @property
    def recent_size(self) -> int:
        """Return how many digests are in memory alone and not frozen."""
        return len(self._recent)

    def known(self, digests: Sequence[bytes]) -> list[bool]:
        """Return, per digest, whether it is in the set."""
        self._take_brought()
        recent, frozen = self._recent, self._frozen
        # Most batches have nothing in memory, which is told without a step of Python per digest.
        if recent.isdisjoint(digests) and frozen.isdisjoint(digests):
            flags = [False] * len(digests)
        else:
            flags = [digest in recent or digest in frozen for digest in digests]
        if self._files and digests:
            high, low = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2).T.copy()
            bits = bits_of(low)
            for file in self._files:
                maybe = file.filter.may_hold(high, bits)
                if len(maybe):
                    for place in maybe[file.holds(high[maybe], low[maybe])].tolist():
                        flags[place] = True
        return flags

    def add(self, digests: Collection[bytes]) -> None:
        """Add digests."""
        self._recent.update(digests)

    def freeze(self) -> set[bytes]:
        """Return what is to go into a file, until that is brought; the last one was brought."""
        self._take_brought()
        assert not self._frozen, "one file at a time is written"
        self._frozen, self._recent = self._recent, set()
        return self._frozen

    def bring(self, file: DigestFile, instead_of: list[DigestFile]) -> None:
        """Hand over a file, from any thread: of what was frozen, or instead of other files."""
        self._brought.append((file, instead_of))

    def close(self) -> None:
        """Let go of the files."""
        self._take_brought()
        for file in self._files:
            file.close()
        self._files = []

    def _take_brought(self) -> None:
        while self._brought:
            file, replaced = self._brought.popleft()
            if not replaced:
                self._frozen = set()
            for each in replaced:
                self._files.remove(each)
                each.close()
            self._files.append(file)
