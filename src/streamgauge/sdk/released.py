"""How far a live spool may be delivered: written by its process, read by the one that delivers.

The mark is never synced: it is meaningful only while its process lives, and after that the spool is
recovered as a whole. A half-written mark fails its checksum and is read again later.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from typing import Final

from streamgauge.core.files import Directory, File
from streamgauge.core.journal import Position
from streamgauge.sdk.identity import RELEASED_NAME

_BODY: Final = struct.Struct("<QQ")
_CHECKSUM: Final = struct.Struct("<I")
_NOTHING: Final = Position(0, 0)


class ReleasedMark:
    """The mark of one spool, held open by its process.

    Args:
        directory: The spool's.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, directory: Directory) -> None:
        self._file: File = directory.open(RELEASED_NAME, create=True)
        self._written: Position | None = None
        self.write(_NOTHING)

    def write(self, until: Position) -> None:
        """Let the deliverer have what is before ``until``; a disk that refuses is tried again."""
        if until == self._written:
            return
        body = _BODY.pack(*until)
        with contextlib.suppress(OSError):
            self._file.write_at(0, body + _CHECKSUM.pack(zlib.crc32(body)))
            self._written = until

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def read_released(directory: Directory) -> Position | None:
    """Return the position before which everything may be delivered; None: it cannot be read now.

    Raises:
        FileNotFoundError: The spool is gone, or was made by a version without such a mark.
    """
    with contextlib.closing(directory.open(RELEASED_NAME)) as file:
        data = file.read_at(0, _BODY.size + _CHECKSUM.size)
    body = data[: _BODY.size]
    if data[_BODY.size :] != _CHECKSUM.pack(zlib.crc32(body)):
        return None
    return Position(*_BODY.unpack(body))
