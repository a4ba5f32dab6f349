"""Sorted digests in a file that never changes: a head, all upper halves, all lower halves."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from streamgauge.core.errors import CorruptError
from streamgauge.core.files import Directory
from streamgauge.server.ingest.digests.filter import Filter, Words

_HEAD: Final = struct.Struct("<8sQII")
_MAGIC: Final = b"SGDIGS01"
_HEAD_BYTES: Final = 4_096
_HALF_BYTES: Final = 8
# Of one step of a merge or a check: some ten milliseconds and some ten megabytes.
_STEP: Final = 262_144
# Between two upper halves kept in memory, so that a search touches one page of the file.
_STRIDE: Final = 64
# A search goes on this far for equal upper halves; nine of them are out of reach.
_EQUAL_MAX: Final = 8


class DigestFile:
    """An open file of digests.

    Attributes:
        name: In its directory.
        size: How many digests it holds.
    """

    def __init__(self, directory: Directory, name: str, size: int, filter_: Filter) -> None:
        self.name = name
        self.size = size
        self.filter = filter_
        self._page = directory.map(name)
        self.high: Words = np.frombuffer(self._page.view, "<u8", size, _HEAD_BYTES)
        self.low: Words = np.frombuffer(
            self._page.view, "<u8", size, _HEAD_BYTES + size * _HALF_BYTES
        )
        self._fences = self.high[::_STRIDE].copy()

    def holds(self, high: Words, low: Words) -> npt.NDArray[np.bool_]:
        """Tell for each digest, given by its halves, whether it is here."""
        block = np.maximum(np.searchsorted(self._fences, high) - 1, 0) * _STRIDE
        places = block[:, None] + np.arange(_STRIDE + _EQUAL_MAX)
        np.minimum(places, self.size - 1, out=places)
        row, column = np.nonzero(self.high[places] == high[:, None])
        found = np.zeros(len(high), np.bool_)
        found[row[self.low[places[row, column]] == low[row]]] = True
        return found

    def close(self) -> None:
        """Let go of the file."""
        del self.high, self.low
        self._page.close()


def write(directory: Directory, name: str, digests: bytes) -> DigestFile:
    """Return a new file of digests, given one after the other in any order."""
    halves = np.frombuffer(digests, "<u8").reshape(-1, 2)
    high, low = halves[:, 0], halves[:, 1]
    order = np.argsort(high)
    building = _Building(directory, name, len(high))
    with building.abandoned_on_error():
        building.append(high[order], low[order])
        return building.finish()


def merge(
    directory: Directory, name: str, files: Sequence[DigestFile]
) -> Iterator[DigestFile | None]:
    """Make one file of several, step by step; yields None until the last step yields the file."""
    building = _Building(directory, name, sum(file.size for file in files))
    largest = max(files, key=lambda file: file.size)
    starts = [0] * len(files)
    with building.abandoned_on_error():
        for step in range(_STEP, largest.size + _STEP, _STEP):
            if step < largest.size:
                ends = [int(np.searchsorted(file.high, largest.high[step])) for file in files]
            else:
                ends = [file.size for file in files]
            slices = list(zip(files, starts, ends, strict=True))
            high = np.concatenate([file.high[start:end] for file, start, end in slices])
            low = np.concatenate([file.low[start:end] for file, start, end in slices])
            # Stable, since it merges what is sorted already.
            order = np.argsort(high, kind="stable")
            building.append(high[order], low[order])
            starts = ends
            yield None
        merged = building.finish()
    yield merged


def read(directory: Directory, name: str) -> DigestFile:
    """Open a file after checking every byte of it.

    Raises:
        CorruptError: It is not what was written.
        FileNotFoundError: It is not there.
    """
    with contextlib.closing(directory.open(name)) as file:
        size, checksum = _parse_head(name, file.read_at(0, _HEAD.size))
        if file.size() != _HEAD_BYTES + 2 * size * _HALF_BYTES:
            raise CorruptError(name, 0, f"it has {file.size()} bytes for {size} digests")
        filter_ = Filter(size)
        sums = [0, 0]
        for start in range(0, size, _STEP):
            halves = []
            for half in (0, 1):
                at = _HEAD_BYTES + (half * size + start) * _HALF_BYTES
                data = file.read_at(at, min(_STEP, size - start) * _HALF_BYTES)
                sums[half] = zlib.crc32(data, sums[half])
                halves.append(np.frombuffer(data, "<u8"))
            filter_.add(*halves)
    if _joined(sums) != checksum:
        raise CorruptError(name, _HEAD_BYTES, "the checksum does not match")
    return DigestFile(directory, name, size, filter_)


def salvage(directory: Directory, name: str) -> bytes:
    """Return what may be the digests of a damaged file: a wrong one matches no id."""
    with contextlib.closing(directory.open(name)) as file:
        head, data = file.read_at(0, _HEAD.size), file.read_at(_HEAD_BYTES, file.size())
    size = len(data) // _HALF_BYTES // 2
    with contextlib.suppress(CorruptError):
        size, _ = _parse_head(name, head)
    data = data.ljust(2 * size * _HALF_BYTES, b"\0")
    halves = np.frombuffer(data, "<u8", size * 2).reshape(2, size)
    return np.ascontiguousarray(halves.T).tobytes()


class _Building:
    """A file on its way; its head is written last."""

    def __init__(self, directory: Directory, name: str, size: int) -> None:
        self._directory = directory
        self._name = name
        self._size = size
        self._file = directory.open(name, create=True)
        self._filter = Filter(size)
        self._written = 0
        self._sums = [0, 0]

    def append(self, high: Words, low: Words) -> None:
        """Append digests, in order of their upper halves, above those before."""
        for half, data in enumerate((high.tobytes(), low.tobytes())):
            self._file.write_at(
                _HEAD_BYTES + (half * self._size + self._written) * _HALF_BYTES, data
            )
            self._sums[half] = zlib.crc32(data, self._sums[half])
        self._filter.add(high, low)
        self._written += len(high)

    def finish(self) -> DigestFile:
        """Return the whole file, on disk."""
        assert self._written == self._size, "every digest was appended"
        head = _HEAD.pack(_MAGIC, self._size, _joined(self._sums), 0)
        self._file.write_at(0, head[:-4] + struct.pack("<I", zlib.crc32(head[:-4])))
        self._file.sync()
        self._directory.sync()
        self._file.close()
        return DigestFile(self._directory, self._name, self._size, self._filter)

    @contextlib.contextmanager
    def abandoned_on_error(self) -> Iterator[None]:
        """Leave no half-made file behind, also when a merge is given up."""
        try:
            yield
        except BaseException:
            self._file.close()
            self._directory.remove(self._name)
            raise


def _joined(sums: Sequence[int]) -> int:
    return zlib.crc32(struct.pack("<II", *sums))


def _parse_head(name: str, head: bytes) -> tuple[int, int]:
    """Return size and checksum."""
    if len(head) != _HEAD.size:
        raise CorruptError(name, 0, "the head is cut off")
    magic, size, checksum, head_checksum = _HEAD.unpack(head)
    if magic != _MAGIC or head_checksum != zlib.crc32(head[:-4]):
        raise CorruptError(name, 0, "the head is damaged")
    return size, checksum
