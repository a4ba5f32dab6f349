"""Connections of this process: who is served on each, and what the kernel says arrived.

One exchange at a time is served on a connection. The next one's beginning proves that the last one
arrived, so the counters are read at a beginning, never at an end; the last exchange of a
connection ends with the kernel's announcement that the socket is gone. Where several are served at
a time, ``shared`` stands for all of them.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from contextlib import AbstractContextManager
from typing import Final

from streamgauge.core.clock import NS_PER_S, Clock
from streamgauge.streams.kernel.connection import Connection, Ending, Exchange, identity_of
from streamgauge.streams.kernel.lookup import FoundSocket, find_socket
from streamgauge.streams.kernel.netlink import Destroyed
from streamgauge.streams.kernel.tcp_info import (
    NOTHING,
    Readable,
    cookie,
    read,
)
from streamgauge.streams.kernel.watch import Watch

_LOOK_AGAIN_NS: Final = 5 * NS_PER_S
_HEARD_S: Final = 0.5
_FOUND_MAX: Final = 10_000


class Connections:
    """All connections of this process that something is served on.

    Args:
        clock: Says how long something is over.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._heard = threading.Condition(self._lock)
        self._by_name: dict[int, Connection] = {}
        self._dropped: deque[Ending] = deque()
        self._over: list[tuple[int, Connection, Exchange]] = []
        self._found: dict[tuple[tuple[str, int], tuple[str, int]], FoundSocket] = {}
        self._watch = Watch(self._destroyed, self._look)
        _renew_after_fork(self)

    @property
    def announced(self) -> bool:
        """Return whether the kernel tells us when sockets are gone."""
        return self._watch.listening

    @property
    def count(self) -> int:
        """Return how many connections are known."""
        return len(self._by_name)

    def locked(self) -> AbstractContextManager[object]:
        """Return the lock under which exchanges are observed and concluded."""
        return self._lock

    def begin(
        self,
        socket: Readable,
        exchange: Exchange,
        *,
        from_start: bool = True,
        unless_sent: bool = False,
        early_bytes: int = 0,
    ) -> bool:
        """Serve ``exchange`` on the connection behind ``socket``.

        Args:
            socket: The socket, or what an event loop shows of it.
            exchange: What is served; the connection's last one is concluded.
            from_start: Whether a connection that was not met before is new: its first exchange
                carries the handshake.
            unless_sent: Whether one that has sent bytes is not new: it served something else.
            early_bytes: What was sent of ``exchange`` already, in one piece.

        Returns:
            Whether the kernel can be asked about it.
        """
        name = cookie(socket)
        info = read(socket) if name is not None else None
        if name is None or info is None:
            return False
        if early_bytes:
            info = info.before_segment(early_bytes)
        tell = None
        with self._lock:
            connection = self._by_name.get(name)
            is_first = connection is None
            if connection is None:
                identity = identity_of(name, socket)
                if identity is None:
                    return False
                self._watch.listen(identity.local_port)
                is_new = from_start and not (unless_sent and info.sent)
                connection = Connection(name, socket, identity, NOTHING if is_new else info)
                self._by_name[name] = connection
            elif connection.current is not None:
                if (missing := connection.current.missing(info)) > 0:
                    # The client asked before it had the answer to what it had asked before.
                    info = info.ahead(missing)
                connection.observe(info)
                tell = connection.current.conclude(certain=missing <= 0, sent=True)
            connection.serve(exchange, info, is_first=is_first)
        if tell is not None:
            tell()
        return True

    def found(self, local: tuple[str, int], peer: tuple[str, int]) -> Readable | None:
        """Return the connection between two addresses (see ``find_socket``)."""
        known = self._found.get((local, peer))
        if known is None or read(known) is None:
            if len(self._found) >= _FOUND_MAX:
                self._found.clear()
            known = find_socket(local, peer)
            if known is not None:
                self._found[local, peer] = known
        return known

    def refresh(self, connection: Connection, exchange: Exchange) -> bool:
        """Give ``exchange`` what the kernel says now, if it is still served.

        Returns:
            Whether the kernel still has the connection.
        """
        info = connection.read()
        if info is None:
            return False
        with self._lock:
            if connection.current is exchange:
                connection.observe(info)
            untold, connection.untold = connection.untold, []
        for tell in untold:
            tell()
        return True

    def end(self, connection: Connection, exchange: Exchange) -> None:
        """Note that the application is done with ``exchange``, whose bytes may be on the way."""
        with self._lock:
            self._over.append((self._clock.monotonic_ns(), connection, exchange))

    def drop(self, exchange: Ending) -> None:
        """End ``exchange`` at the next look or beginning; called by finalisers, under any lock."""
        self._dropped.append(exchange)

    def end_dropped(self) -> None:
        """End what finalisers have dropped."""
        while self._dropped:
            self._dropped.popleft().end()

    def conclude(self, connection: Connection, exchange: Exchange) -> None:
        """Conclude ``exchange`` with what is known now, since this process ends."""
        if not self.refresh(connection, exchange) and self.announced:
            # What the kernel has forgotten it announces at once, with the last figures.
            with self._heard:
                self._heard.wait_for(lambda: connection.current is not exchange, _HEARD_S)
        self._conclude(connection, exchange, certain=False, leaving=True)

    def close(self) -> None:
        """Stop listening."""
        self._watch.close()

    def _destroyed(self, gone: Destroyed) -> None:
        connection = self._by_name.get(gone.cookie)
        if connection is None:
            return
        with self._lock:
            connection.observe(gone.info)
        self._conclude(connection, connection.current, certain=True)

    def _look(self, *, lost: bool) -> None:
        """Conclude what is over of which no announcement will come.

        Args:
            lost: Some announcements are gone, so every connection is suspect.
        """
        self.end_dropped()
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            due = [one for one in self._over if lost or now_ns - one[0] >= _LOOK_AGAIN_NS]
            self._over = [] if lost else self._over[len(due) :]
            if lost:
                known = self._by_name.values()
                due = [(now_ns, one, one.current) for one in known if one.current is not None]
        for _, connection, exchange in due:
            if connection.current is not exchange:
                continue
            info = connection.read()
            if info is None:
                self._conclude(connection, exchange, certain=False)
            elif exchange.ended:
                self.end(connection, exchange)
        self._observe_blind()

    def _observe_blind(self) -> None:
        """Have bytes that nobody else counts counted, so that a killed process bills them."""
        with self._lock:
            known = [(one, one.current) for one in self._by_name.values()]
        for connection, exchange in known:
            if exchange is not None and exchange.is_blind:
                self.refresh(connection, exchange)

    def _conclude(
        self,
        connection: Connection,
        exchange: Exchange | None,
        *,
        certain: bool,
        leaving: bool = False,
    ) -> None:
        tell = None
        with self._lock:
            if connection.current is exchange:
                self._by_name.pop(connection.name, None)
                connection.current = None
                self._heard.notify_all()
                if exchange is not None:
                    tell = exchange.conclude(certain=certain, leaving=leaving)
        if tell is not None:
            tell()

    def _after_fork(self) -> None:
        """Know nothing: what the parent serves is the parent's to bill."""
        served = [one.current for one in self._by_name.values()]
        self._lock = threading.RLock()
        self._heard = threading.Condition(self._lock)
        self._by_name = {}
        self._over = []
        self._watch = Watch(self._destroyed, self._look)
        for exchange in served:
            if exchange is not None:
                exchange.disown()


def _renew_after_fork(connections: Connections) -> None:
    reference = weakref.ref(connections)

    def renew() -> None:
        if (here := reference()) is not None:
            here._after_fork()  # noqa: SLF001 - its own module's other half.

    os.register_at_fork(after_in_child=renew)
