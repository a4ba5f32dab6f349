"""A second count beside the meter's: what was handed to the server, on a page that survives.

The demo compares it with what was billed. It shares no code with the meter: one number per
customer in a file mapped into memory, advanced after the meter has seen a chunk and before the
server gets it. It is cumulative over all processes of the platform.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamgauge.demo.audience import AUDIENCE, viewer_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NUMBER: Final = struct.Struct("=Q")


class Witness:
    """ASGI middleware; ``app`` is the metered application."""

    def __init__(self, app: ASGIApp, page: Path) -> None:
        self._app = app
        with page.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note what passes on its way to the server."""
        viewer = viewer_of(token_of(scope))
        if viewer is None:
            await self._app(scope, receive, send)
            return
        offset = AUDIENCE.index(viewer) * _NUMBER.size

        async def noting(message: Message) -> None:
            size = payload_of(message)
            (before,) = _NUMBER.unpack_from(self._page, offset)
            _NUMBER.pack_into(self._page, offset, before + size)
            await send(message)

        await self._app(scope, receive, noting)


def prepare_page(page: Path) -> None:
    """Write a page of zeros."""
    page.write_bytes(bytes(_NUMBER.size * len(AUDIENCE)))


def read_page(page: Path) -> dict[str, int]:
    """Return the bytes noted per customer."""
    numbers = [number for (number,) in _NUMBER.iter_unpack(page.read_bytes())]
    ids = (viewer.customer_id for viewer in AUDIENCE)
    return dict(zip(ids, numbers, strict=True))


def token_of(scope: Scope) -> str:
    """Return the token in a request's path, empty where there is none."""
    path = str(scope.get("path", ""))
    return path.split("/")[1] if path.startswith("/") else ""


def payload_of(message: Message) -> int:
    """Return how many bytes of payload an outgoing message carries."""
    match message["type"]:
        case "http.response.body":
            return len(message.get("body", b""))
        case "websocket.send":
            text = message.get("text")
            return len(message.get("bytes") or b"") if text is None else len(text.encode())
        case _:
            return 0
