from __future__ import annotations

import errno

import pytest

from streamgauge.core.memory import MemoryDirectory, MemoryFile


class Disk:
    """Tells the files of a directory what fails."""

    def __init__(self) -> None:
        self.writes_fail = False
        self.syncs_fail = False
        self.syncs = 0


class BadFile(MemoryFile):
    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk

    def write_at(self, offset: int, data: bytes) -> None:
        if self._disk.writes_fail:
            raise OSError(errno.ENOSPC, "no space left on device")
        super().write_at(offset, data)

    def sync(self) -> None:
        self._disk.syncs += 1
        if self._disk.syncs_fail:
            raise OSError(errno.EIO, "input/output error")


class BadDirectory(MemoryDirectory):
    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()

    def _new_file(self) -> MemoryFile:
        return BadFile(self.disk)


@pytest.fixture
def directory() -> BadDirectory:
    return BadDirectory()
