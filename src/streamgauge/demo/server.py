"""The billing server of the demo: the real one, as a process of its own, with its pages.

This module is both sides of that process: ``open_server`` starts it, ``main`` is what runs in it.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from streamgauge.core.errors import UnavailableError
from streamgauge.demo.api import Api
from streamgauge.demo.processes import end_with_parent

if TYPE_CHECKING:
    from streamgauge.demo.processes import Processes
    from streamgauge.server.run import Ready

MODE: Final = "test_mode"
START_TIMEOUT_S: Final = 60.0


class _Announcement(msgspec.Struct):
    port: int
    admin_socket: str
    key: str


class _Link(msgspec.Struct):
    path: str


class BillingServer(msgspec.Struct, frozen=True, kw_only=True):
    """A running server.

    Attributes:
        process: The child.
        port: Where it listens.
        api: Speaks to it, with ``key``.
        key: A key that may write.
        admin_socket: Where the operator speaks to it.
    """

    process: asyncio.subprocess.Process
    port: int
    api: Api
    key: str
    admin_socket: Path

    async def sign_in_url(self) -> str:
        """Return a link that signs a browser in, once."""
        return self.api.url + await asyncio.to_thread(_new_link, self.admin_socket)


class StartingServer:
    """A server that may not answer yet.

    Attributes:
        process: The child.
    """

    def __init__(self, process: asyncio.subprocess.Process, announcements: int) -> None:
        self.process = process
        self._waiting = asyncio.ensure_future(asyncio.to_thread(_await_announcement, announcements))

    async def ready(self) -> BillingServer:
        """Return the server once it answers; ask as often as you like.

        Raises:
            UnavailableError: It does not come up.
        """
        announcement = await asyncio.shield(self._waiting)
        if announcement is None:
            raise UnavailableError("the billing server did not come up")
        return BillingServer(
            process=self.process,
            port=announcement.port,
            api=Api(announcement.port, announcement.key),
            key=announcement.key,
            admin_socket=Path(announcement.admin_socket),
        )


async def open_server(folder: Path, processes: Processes, *, port: int = 0) -> BillingServer:
    """Start a server on ``folder``, wait until it answers, and have a key made on it.

    Raises:
        UnavailableError: It does not come up.
    """
    return await (await start_server(folder, processes, port=port)).ready()


async def start_server(folder: Path, processes: Processes, *, port: int = 0) -> StartingServer:
    """Start a server on ``folder`` and do not wait for it."""
    ours, theirs = os.pipe()
    try:
        process = await processes.python(
            "streamgauge.demo.server",
            *("--data-dir", str(folder / "billing"), "--port", str(port), "--ready", str(theirs)),
            descriptors=(theirs,),
            log=folder / "billing.log",
        )
    finally:
        os.close(theirs)
    return StartingServer(process, ours)


def _await_announcement(descriptor: int) -> _Announcement | None:
    """Return what the child announces, or None if it ends before."""
    with os.fdopen(descriptor, "rb") as pipe:
        words = pipe.read()
    return msgspec.json.decode(words, type=_Announcement) if words else None


def _new_link(admin_socket: Path) -> str:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(START_TIMEOUT_S)
        line.connect(str(admin_socket))
        connection = http.client.HTTPConnection("operator")
        connection.sock = line
        connection.request("POST", "/app/links")
        response = connection.getresponse()
        words = response.read()
    return msgspec.json.decode(words, type=_Link).path


def main() -> None:
    """Serve until terminated; once requests are answered, make a key and announce both."""
    from streamgauge.server.app import create_app  # noqa: PLC0415 - only the child needs these
    from streamgauge.server.config import Config, Listen  # noqa: PLC0415
    from streamgauge.server.pages.routes import routes  # noqa: PLC0415
    from streamgauge.server.run import serve  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="streamgauge.demo.server")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ready", type=int, required=True, help="descriptor to announce on")
    options = parser.parse_args()
    end_with_parent()

    def announce(ready: Ready) -> None:
        made = ready.parts.catalog.keys.create(mode=MODE, name="demo")
        words = _Announcement(port=ready.port, admin_socket=str(ready.admin_socket), key=made.token)
        with os.fdopen(options.ready, "wb") as pipe:
            pipe.write(msgspec.json.encode(words))

    config = Config(data_dir=options.data_dir, listen=Listen(port=options.port))
    serve(config, announce, app_factory=lambda parts: create_app(parts, more_routes=routes(parts)))


if __name__ == "__main__":
    main()
