from __future__ import annotations

import gc
import time
from collections.abc import Callable


def collect_until(gone: Callable[[], bool]) -> None:
    """Collect until ``gone`` says so; a call does nothing while another thread collects."""
    deadline_s = time.monotonic() + 10
    while not gone() and time.monotonic() < deadline_s:
        gc.collect()
