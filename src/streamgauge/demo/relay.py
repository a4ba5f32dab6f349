"""A player's own line to the platform: forwards TCP, and knows what arrived at the player's end.

A relay listens on loopback for one player, opens one connection to the platform for each of the
player's, and forwards both ways. It reads from the platform no faster than its line is wide. It
outlives the platform: what the platform's kernel still hands over after the platform's death is
forwarded and counted like everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import sys
import termios
from collections.abc import Coroutine
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

import msgspec

from streamgauge.demo.payload import Exchange, PayloadCounter

LOOPBACK: Final = "127.0.0.1"
_READ_BYTES_MAX: Final = 64 * 1024
# An open line reads as fast as it can; a narrow one in small bites, so that it flows evenly.
_NARROW_READ_BYTES_MAX: Final = 16 * 1024
# A window much smaller than the kernel's default, as a household line has one.
_NARROW_RECEIVE_BUFFER_BYTES: Final = 64 * 1024
# A sender's buffer is drained on loopback within milliseconds; this is how long nothing came.
_LOOK_S: Final = 0.05
_QUIET_LOOKS: Final = 6


class Ending(StrEnum):
    """How a connection ended, as the player's end saw it."""

    OPEN = "open"
    FINISHED = "finished"
    """The platform's side sent everything it had taken, then closed (FIN)."""
    RESET = "reset"
    """The platform's side threw away what it still held (RST)."""
    LEFT = "left"
    """The player closed first."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A player's line; ``bytes_per_s`` None is as fast as loopback goes."""

    bytes_per_s: int | None = None


class Connection:
    """One connection and all that arrived through it.

    Attributes:
        exchanges: Requests and what arrived of their responses.
        received_bytes: All bytes that arrived, headers and framing included.
        receive_buffer_bytes: The player's end of the kernel's buffers, as the kernel states it.
        unread_bytes: Of those that arrived, what the player left in its kernel unread.
        ending: How it ended.
        was_open_at_death: Whether it was open when the platform died.
    """

    def __init__(self, receive_buffer_bytes: int) -> None:
        self.received_bytes = 0
        self.receive_buffer_bytes = receive_buffer_bytes
        self.unread_bytes = 0
        self.ending = Ending.OPEN
        self.was_open_at_death = False
        self.counter = PayloadCounter()

    @property
    def exchanges(self) -> list[Exchange]:
        """Return requests and what arrived of their responses."""
        return self.counter.exchanges

    @property
    def payload(self) -> int:
        """Return the payload bytes that arrived."""
        return self.counter.payload

    @property
    def disturbed(self) -> bool:
        """Return whether the platform died while something was on its way here."""
        return any(exchange.at_death is not None for exchange in self.exchanges)

    def take(self, data: bytes) -> None:
        """Count bytes that arrived from the platform."""
        self.received_bytes += len(data)
        self.counter.received(data)

    def leave_unread(self, data: bytes) -> None:
        """Count bytes that arrived and that the player did not wait for."""
        self.unread_bytes += len(data)
        self.take(data)

    def end(self, ending: Ending) -> None:
        """Note how the connection ended."""
        self.ending = ending

    def mark_death(self) -> None:
        """Note that the platform died now."""
        if self.ending is Ending.OPEN:
            self.was_open_at_death = True
            self.counter.mark_death()


class Relay:
    """Listens for one player; use it as an async context manager."""

    def __init__(self, platform_port: int, line: Line | None = None) -> None:
        self.connections: list[Connection] = []
        self._platform_port = platform_port
        self._line = line or Line()
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.settimeout(0)
        self._tasks: set[asyncio.Task[None]] = set()
        self._served: set[asyncio.Task[None]] = set()
        self.failures: list[BaseException] = []

    @property
    def port(self) -> int:
        """Return the port the player connects to."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def payload(self) -> int:
        """Return the payload bytes that arrived so far, over all connections."""
        return sum(connection.payload for connection in self.connections)

    @property
    def stream_bytes(self) -> int:
        """Return all bytes that arrived so far, heads and framing included."""
        return sum(connection.received_bytes for connection in self.connections)

    @property
    def unread_bytes(self) -> int:
        """Return the bytes that arrived and that the player did not wait for."""
        return sum(connection.unread_bytes for connection in self.connections)

    @property
    def in_flight(self) -> bool:
        """Return whether a response is on its way and part of it has arrived."""
        return any(
            connection.ending is Ending.OPEN
            and any(part.payload > 0 and not part.complete for part in connection.exchanges)
            for connection in self.connections
        )

    def mark_death(self) -> None:
        """Note that the platform died now."""
        for connection in self.connections:
            connection.mark_death()

    async def idle(self) -> None:
        """Wait until every connection so far has ended."""
        if self._served:
            await asyncio.wait(self._served)

    async def __aenter__(self) -> Self:
        self._spawn(self._accept())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._settle)
        return task

    def _settle(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._served.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self.failures.append(failure)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            player, _ = await loop.sock_accept(self._listener)
            self._served.add(self._spawn(self._serve(player)))

    async def _serve(self, player: socket.socket) -> None:
        platform = socket.socket()
        with player, platform:
            if self._line.bytes_per_s is not None:
                platform.setsockopt(
                    socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW_RECEIVE_BUFFER_BYTES
                )
            platform.settimeout(0)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(platform, (LOOPBACK, self._platform_port))
            connection = Connection(platform.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
            self.connections.append(connection)
            await self._forward(player, platform, connection)

    async def _forward(
        self, player: socket.socket, platform: socket.socket, connection: Connection
    ) -> None:
        up = asyncio.create_task(_up(player, platform, connection))
        down = asyncio.create_task(self._down(player, platform, connection))
        try:
            done, _ = await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        for task in done:
            connection.end(task.result())
        if connection.ending is Ending.LEFT:
            connection.leave_unread(await _unread(platform))

    async def _down(
        self, player: socket.socket, platform: socket.socket, connection: Connection
    ) -> Ending:
        loop = asyncio.get_running_loop()
        rate = self._line.bytes_per_s
        bite = _READ_BYTES_MAX if rate is None else _NARROW_READ_BYTES_MAX
        while True:
            try:
                data = await loop.sock_recv(platform, bite)
            except OSError:
                return Ending.RESET
            if not data:
                return Ending.FINISHED
            connection.take(data)
            try:
                await loop.sock_sendall(player, data)
            except OSError:
                return Ending.LEFT
            if rate is not None:
                await asyncio.sleep(len(data) / rate)


async def _unread(platform: socket.socket) -> bytes:
    """Return what waits to be read, once nothing more can arrive: the buffer is full, or all is in.

    Closing before that would leave bytes behind that arrived after the last look.
    """
    waiting = -1
    quiet = 0
    while quiet < _QUIET_LOOKS:
        await asyncio.sleep(_LOOK_S)
        before, waiting = waiting, _readable_bytes(platform)
        quiet = quiet + 1 if waiting == before else 0
    return _peek(platform, waiting)


def _readable_bytes(connection: socket.socket) -> int:
    answer = fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def _peek(connection: socket.socket, size: int) -> bytes:
    with contextlib.suppress(OSError):
        return connection.recv(size, socket.MSG_PEEK) if size else b""
    return b""


async def _up(player: socket.socket, platform: socket.socket, connection: Connection) -> Ending:
    loop = asyncio.get_running_loop()
    while True:
        try:
            data = await loop.sock_recv(player, _READ_BYTES_MAX)
        except OSError:
            return Ending.LEFT
        if not data:
            return Ending.LEFT
        connection.counter.sent(data)
        # A dead platform takes no request, but its kernel may still hand over an answer.
        with contextlib.suppress(OSError):
            await loop.sock_sendall(platform, data)
