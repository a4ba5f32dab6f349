"""The door to NATS: a connection, on a thread of its own.

Every call blocks, from any thread but the connection's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from streamgauge.core.errors import ConfigurationError, UnavailableError

T = TypeVar("T")
_log: Final = logging.getLogger("streamgauge.server.ingest")

_CONNECT_S: Final = 2
_RECONNECT_WAIT_S: Final = 0.2
_OPEN_S: Final = 10.0
_ORDER_S: Final = 5.0


class Connection:
    """A connection to NATS servers, made again whenever it is lost.

    Args:
        servers: URLs such as ``nats://host:4222``; any of them leads to all.
        name: Ours, as the servers list it.

    Raises:
        ConfigurationError: No server lets us in.
    """

    def __init__(self, servers: Sequence[str], *, name: str) -> None:
        self._answers = set[asyncio.Task[None]]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="streamgauge-nats", daemon=True
        )
        self._thread.start()
        try:
            self._client: Client = self._run(_connect(list(servers), name), _OPEN_S)
        except (NatsError, OSError, UnavailableError) as error:
            self._stop_loop()
            raise ConfigurationError(
                f"no NATS server of {', '.join(map(_shown, servers))} lets us in: {error!r}"
            ) from error

    def tell(self, subject: str, data: bytes = b"") -> None:
        """Send a message to whoever listens now; it may be lost."""

        async def send() -> None:
            with contextlib.suppress(NatsError, OSError):
                await self._client.publish(subject, data)

        asyncio.run_coroutine_threadsafe(send(), self._loop)

    def listen(self, subject: str, hear: Callable[[bytes], None]) -> None:
        """Call ``hear`` on the connection's thread with what is sent to ``subject``."""

        async def heard(message: Msg) -> None:
            hear(message.data)

        self._run(self._client.subscribe(subject, cb=heard), _ORDER_S)

    def answer(self, subject: str, give: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Answer what is asked at ``subject``; ``give`` is awaited on the connection's thread."""

        async def reply(message: Msg) -> None:
            data = await give(message.data)
            with contextlib.suppress(NatsError, OSError):
                await message.respond(data)

        async def asked(message: Msg) -> None:
            task = asyncio.create_task(reply(message))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

        self._run(self._client.subscribe(subject, cb=asked), _ORDER_S)

    def ask(self, subject: str, data: bytes, timeout_s: float) -> bytes:
        """Return what somebody answers.

        Raises:
            UnavailableError: Nobody does within ``timeout_s``.
        """
        try:
            asked = self._client.request(subject, data, timeout=timeout_s)
            return bytes(self._run(asked, timeout_s + 1).data)
        except (NatsError, OSError) as error:
            raise UnavailableError(f"nobody answers at {subject}: {error!r}", 2) from error

    def ask_all(self, subject: str, wait_s: float) -> list[bytes]:
        """Return what everybody answers who does within ``wait_s``.

        Raises:
            UnavailableError: There is no connection now.
        """
        return self._run(self._ask_all(subject, wait_s), wait_s + _ORDER_S)

    def close(self) -> None:
        """Let go of the connection; twice is once."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(NatsError, OSError, UnavailableError):
            self._run(self._client.close(), _ORDER_S)
        self._stop_loop()

    async def _ask_all(self, subject: str, wait_s: float) -> list[bytes]:
        inbox = self._client.new_inbox()
        found: list[bytes] = []

        async def heard(message: Msg) -> None:
            found.append(message.data)

        replies = await self._client.subscribe(inbox, cb=heard)
        await self._client.publish(subject, reply=inbox)
        await asyncio.sleep(wait_s)
        await replies.unsubscribe()
        # Where nobody listens the servers say so, with a message that is empty.
        return [each for each in found if each]

    def _run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        if self._loop.is_closed():
            work.close()
            raise UnavailableError("the connection to NATS is closed")
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result(timeout_s)
        except FutureTimeoutError:
            running.cancel()
            raise UnavailableError(f"NATS did not answer within {timeout_s:g} s", 2) from None

    def _stop_loop(self) -> None:
        with contextlib.suppress(UnavailableError):
            self._run(_end_tasks(), _ORDER_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _end_tasks() -> None:
    """Cancel whatever is under way, such as a connection that was never made."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_ORDER_S / 2)


async def _connect(servers: list[str], name: str) -> Client:
    return await nats.connect(
        servers=servers,
        name=name,
        error_cb=_note,
        connect_timeout=_CONNECT_S,
        reconnect_time_wait=_RECONNECT_WAIT_S,
        max_reconnect_attempts=-1,
    )


async def _note(error: Exception) -> None:
    _log.debug("the connection to NATS: %r", error)


def _shown(url: str) -> str:
    """Return a URL without the password in it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
