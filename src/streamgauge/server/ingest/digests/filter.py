"""A blocked Bloom filter: one word of memory says that a digest is not there."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

# Two digests per word of 64 bits, six bits each: one absent digest in some 10,000 passes.
_DIGESTS_PER_WORD: Final = 2
_SHIFTS: Final = tuple(np.uint64(shift) for shift in (0, 12, 24))
_TWELVE_BITS: Final = np.uint64(4_095)
_HALF: Final = np.uint64(32)
# Two bits of a word for each twelve of a digest.
_TWO_BITS: Final[Words] = np.array(
    [1 << (twelve & 63) | 1 << (twelve >> 6) for twelve in range(4_096)], np.uint64
)


def bits_of(low: Words) -> Words:
    """Return the bits that stand for digests, from their lower halves."""
    bits = np.zeros_like(low)
    for shift in _SHIFTS:
        bits |= _TWO_BITS[(low >> shift) & _TWELVE_BITS]
    return bits


class Filter:
    """What ``size`` digests leave behind in four bytes each."""

    def __init__(self, size: int) -> None:
        self._words = np.zeros(max(1, size // _DIGESTS_PER_WORD), np.uint64)
        self._count = np.uint64(len(self._words))

    def add(self, high: Words, low: Words) -> None:
        """Add digests, given by their halves."""
        np.bitwise_or.at(self._words, self._at(high), bits_of(low))

    def may_hold(self, high: Words, bits: Words) -> npt.NDArray[np.intp]:
        """Return the places of those digests that may have been added."""
        return np.flatnonzero((self._words[self._at(high)] & bits) == bits)

    def _at(self, high: Words) -> Words:
        return ((high >> _HALF) * self._count) >> _HALF
