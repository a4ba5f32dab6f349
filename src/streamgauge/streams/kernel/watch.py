"""A thread that hears when sockets are gone, and now and then looks at what it may have missed."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final, Protocol

from streamgauge.streams.kernel.netlink import (
    FILTER_PORTS_MAX,
    Destroyed,
    Listener,
    LostError,
)

_LOOK_S: Final = 1.0
_LOGGER: Final = logging.getLogger("streamgauge")


class Look(Protocol):
    """Looks at what is over."""

    def __call__(self, *, lost: bool) -> None:
        """Look; ``lost`` says that announcements are gone."""
        ...


class Watch:
    """Starts its thread with the first port.

    Args:
        destroyed: Told of every socket of our ports that is gone.
        look: Called about once a second.
    """

    def __init__(self, destroyed: Callable[[Destroyed], None], look: Look) -> None:
        # Weak, so that the thread ends with what it serves.
        self._tell = weakref.WeakMethod(destroyed)
        self._look = weakref.WeakMethod(look)
        self._ports: set[int] = set()
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    @property
    def listening(self) -> bool:
        """Return whether announcements are heard."""
        return self._listener is not None

    def listen(self, port: int) -> None:
        """Hear of the sockets of a local port."""
        if port in self._ports:
            return
        self._ports.add(port)
        if self._thread is None:
            self._start()
        # Beyond what a filter takes it lets everything pass, whatever the port.
        if self._listener is not None and len(self._ports) <= FILTER_PORTS_MAX + 1:
            with contextlib.suppress(OSError):
                self._listener.only(self._ports)

    def _start(self) -> None:
        try:
            self._listener = Listener()
        except OSError as error:
            _LOGGER.warning("no netlink, so the ends of connections are estimated: %s", error)
        thread = threading.Thread(target=self._run, name="streamgauge-kernel", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # The next connection of another port tries again; this one's end is estimated.
            _LOGGER.warning("no thread hears of the ends of connections: %s", error)
            if self._listener is not None:
                self._listener.close()
                self._listener = None
            self._ports.clear()
            return
        self._thread = thread

    def close(self) -> None:
        """Stop the thread."""
        self._stopped.set()
        listener = self._listener
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2 * _LOOK_S)

    def _run(self) -> None:
        looked_s = time.monotonic()
        while not self._stopped.is_set():
            lost = self._hear()
            if lost or time.monotonic() - looked_s >= _LOOK_S:
                looked_s = time.monotonic()
                look = self._look()
                if look is None:
                    break
                try:
                    look(lost=lost)
                except Exception:
                    _LOGGER.exception("streamgauge goes on measuring after a failure")
                del look
        if self._listener is not None:
            self._listener.close()

    def _hear(self) -> bool:
        """Tell what is announced; return whether announcements are gone."""
        if self._listener is None:
            self._stopped.wait(_LOOK_S)
            return False
        try:
            for gone in self._listener.receive(_LOOK_S):
                # The kernel announces late: others' ends pass before the filter is there.
                if gone.port in self._ports and (tell := self._tell()) is not None:
                    tell(gone)
        except LostError:
            return True
        except OSError as error:
            _LOGGER.warning("netlink failed, the ends of connections are estimated: %s", error)
            self._listener = None
            return True
        except Exception:
            _LOGGER.exception("streamgauge goes on measuring after a failure")
        return False
