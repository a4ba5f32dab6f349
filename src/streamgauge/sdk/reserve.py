"""Room on disk that a checkpoint needs when there is no other (decision 0012)."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from typing import Final, TypeVar

from streamgauge.core.files import Directory
from streamgauge.core.limits import SPOOL_RESERVE_BYTES
from streamgauge.sdk.identity import RESERVE_NAME

DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_T = TypeVar("_T")


class Reserve:
    """A file in a spool that holds nothing.

    Args:
        directory: The spool's.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._is_held = False

    def hold(self) -> None:
        """Take the room, if there is any."""
        if not self._is_held:
            with contextlib.suppress(OSError):
                self._directory.map(RESERVE_NAME, SPOOL_RESERVE_BYTES).close()
                self._is_held = True

    def spend_on(self, step: Callable[[], _T]) -> _T:
        """Do ``step``, which may be done twice: on a full disk once more, with the room given up.

        Raises:
            OSError: That was not enough, or the trouble is another.
        """
        try:
            return step()
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            self.give_up()
            return step()

    def give_up(self) -> None:
        """Make room.

        Raises:
            OSError: The file cannot be removed.
        """
        self._directory.remove(RESERVE_NAME)
        self._is_held = False
