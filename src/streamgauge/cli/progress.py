"""Progress on a terminal's stderr, from the first second on."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final

from rich.status import Status

from streamgauge.cli.tables import console

_SHOWN_AFTER_S: Final = 1.0


@contextlib.contextmanager
def waiting(text: str, *, shown_after_s: float = _SHOWN_AFTER_S) -> Iterator[Callable[[str], None]]:
    """Show ``text`` while the block runs longer than a second; call the value to change it."""
    if not sys.stderr.isatty():
        yield _quiet
        return
    status = Status(text, console=console(stderr=True))
    timer = threading.Timer(shown_after_s, status.start)
    timer.name = "streamgauge-progress"
    timer.daemon = True
    timer.start()
    try:
        yield status.update
    finally:
        timer.cancel()
        timer.join()
        status.stop()


def _quiet(_text: str) -> None:
    """Write nothing: nobody watches."""
