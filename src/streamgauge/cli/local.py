"""The server's parts in this process, for one command, on a data directory that no server holds.

Requests go to the application as the operator's, without a socket; a thread runs its loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, TypeVar

from streamgauge.cli.client import Exchange
from streamgauge.cli.extras import extra
from streamgauge.cli.progress import waiting
from streamgauge.core.errors import InvalidInputError, UnavailableError
from streamgauge.core.limits import CLI_ANSWER_BYTES_MAX
from streamgauge.server.layout import CATALOG, ELSEWHERE

with extra("server"):
    from streamgauge.server.app import Opened, create_app
    from streamgauge.server.catalog.counts import counts
    from streamgauge.server.config import load
    from streamgauge.server.run import Operator
    from streamgauge.server.telemetry import configure_logging

T = TypeVar("T")
Message = MutableMapping[str, Any]
_App = Callable[..., Awaitable[None]]
_THREAD: Final = "streamgauge-local-server"


@contextlib.contextmanager
def opened(data_dir: Path) -> Iterator[Exchange]:
    """Open the data directory and give what asks its application; close it after.

    Raises:
        InvalidInputError: It is no data directory.
        LockedError: Another process has it open.
    """
    if not any((data_dir / name).exists() for name in (CATALOG, ELSEWHERE)):
        raise InvalidInputError("--data-dir", str(data_dir), f"hold a server's {CATALOG}")
    configure_logging(level="warning", as_json=False)
    with _loop() as run:
        with waiting(f"No server runs on {data_dir}; opening it"):
            parts = Opened(load(environ=os.environ, flags={"data_dir": data_dir}))

        async def start() -> _App:
            parts.start()
            return Operator(create_app(parts.parts))

        try:
            app = run(start())
            yield lambda *request: run(_ask(app, *request))
        finally:
            with waiting("Closing"):
                run(parts.close())


def looked_into(data_dir: Path) -> dict[str, int]:
    """Open a data directory as a server does, and return how much of what it holds.

    Raises:
        ConfigurationError: What is in it does not fit together.
        UnavailableError: The event engine does not open.
    """
    configure_logging(level="warning", as_json=False)
    with _loop() as run:
        found = Opened(load(flags={"data_dir": data_dir}))
        try:
            return counts(found.parts.catalog) | {"events": found.parts.store.count()}
        finally:
            run(found.close())


@contextlib.contextmanager
def _loop() -> Iterator[Callable[[Awaitable[T]], T]]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=_THREAD)
    thread.start()

    async def awaited(what: Awaitable[T]) -> T:
        return await what

    try:
        yield lambda what: asyncio.run_coroutine_threadsafe(awaited(what), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _ask(
    app: _App, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
) -> tuple[int, bytes]:
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": None,
        "server": None,
    }
    answer = _Answer()
    await app(scope, _Sent(body or b"").receive, answer.send)
    return answer.status, b"".join(answer.parts)


class _Sent:
    def __init__(self, body: bytes) -> None:
        self._messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive(self) -> Message:
        return self._messages.pop() if self._messages else {"type": "http.disconnect"}


class _Answer:
    def __init__(self) -> None:
        self.status = 0
        self.parts: list[bytes] = []
        self._size = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        part = message.get("body", b"")
        self._size += len(part)
        if self._size > CLI_ANSWER_BYTES_MAX:
            raise UnavailableError(f"the answer is over {CLI_ANSWER_BYTES_MAX} bytes; ask for less")
        self.parts.append(part)
