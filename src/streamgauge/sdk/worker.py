"""A thread that does one kind of step, again and again, until it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable

from streamgauge.sdk.notices import Notices

_AFTER_FAILURE_S = 1.0


class Worker:
    """Runs ``step`` in a named daemon thread.

    Args:
        name: What it is called, after ``streamgauge-``.
        step: Does some work and returns the seconds until it wants to run again.
        notices: Told if a step raises; the worker goes on.
    """

    def __init__(self, name: str, step: Callable[[], float], notices: Notices) -> None:
        self._step = step
        self._notices = notices
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"streamgauge-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Run the next step now."""
        self._wake.set()

    def stop(self, timeout_s: float) -> bool:
        """Stop after the step that runs now; return whether it ended in time."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(max(timeout_s, 0.0))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping:
            try:
                wait_s = self._step()
            except Exception as error:  # noqa: BLE001 - the host keeps counting; the failure is told.
                message = (
                    f"the {self._thread.name} thread goes on after {type(error).__name__}: {error}"
                )
                self._notices.tell(self._thread.name, message)
                wait_s = _AFTER_FAILURE_S
            self._wake.wait(wait_s)
            self._wake.clear()
