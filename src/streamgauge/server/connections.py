"""Connections of clients, bounded in number and in the time that a request may take to arrive.

A client that sends nothing, or a byte now and then, holds a descriptor, and the log and the store
need descriptors too.
"""

from __future__ import annotations

import asyncio
import logging
import resource

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streamgauge.core.limits import CONNECTIONS_MAX, REQUEST_ARRIVAL_S

_log = logging.getLogger("streamgauge.server.connections")


def connections_max() -> int:
    """Return how many connections may be open: half of the descriptors of this process."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return min(CONNECTIONS_MAX, descriptors // 2)


class BoundedHttp(HttpToolsProtocol):
    """HTTP on a connection that is closed when it is one too many, or too slow to ask."""

    arrival_s = REQUEST_ARRIVAL_S
    _arrival: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or close it at once."""
        super().connection_made(transport)
        bound = connections_max()
        if len(self.connections) > bound:
            _log.warning("%d connections are open; one more is closed", bound)
            transport.abort()
            return
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        if self._arrival is None:
            self._await_request()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Note that the whole request is here."""
        self._stop_waiting()
        super().on_message_complete()

    def _await_request(self) -> None:
        self._arrival = self.loop.call_later(self.arrival_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _give_up(self) -> None:
        self._arrival = None
        self.transport.close()
