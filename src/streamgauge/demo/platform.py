"""The platform: a small Starlette application that streams, with the meter in front of it.

It runs as a process of its own, on a listening socket that the demo hands down, so that the demo
can kill it with SIGKILL and start it again. Film and HLS ladder are files; telemetry is live.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import FileResponse, Response
from starlette.routing import Route, WebSocketRoute

from streamgauge import Ingestion
from streamgauge.asgi import StreamBytesMiddleware, bill_to
from streamgauge.demo.audience import (
    EVENT_NAME,
    LAYERS_TOLD,
    LEDGER_PATH,
    TELEMETRY,
    Viewer,
    viewer_of,
)
from streamgauge.demo.media import FILM
from streamgauge.demo.naive import NaiveMeter
from streamgauge.demo.processes import end_with_parent
from streamgauge.demo.witness import Witness

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.websockets import WebSocket

FLUSH_INTERVAL_S: Final = 2.0
SETTLE_TIMEOUT_S: Final = 25.0
_SPOOL_POLL_S: Final = 0.02
TELEMETRY_INTERVAL_S: Final = 0.05


class Folders(msgspec.Struct, frozen=True, kw_only=True):
    """Where the platform finds its media and leaves what the demo compares."""

    media: Path
    spool: Path
    naive_bill: Path
    witness_page: Path


class Platform:
    """The endpoints.

    Attributes:
        app: The ASGI application, metered.
    """

    def __init__(self, ingestion: Ingestion, folders: Folders) -> None:
        self._ingestion = ingestion
        self._folders = folders
        self.app = Starlette(
            routes=[
                Route("/{token}/film", self.film),
                Route("/{token}/hls/{quality}/{part}", self.hls),
                WebSocketRoute("/{token}/telemetry", self.telemetry),
                Route(LEDGER_PATH, self.ledger),
            ],
            lifespan=self._lifespan,
            middleware=[
                Middleware(Witness, page=folders.witness_page),
                Middleware(StreamBytesMiddleware, ingestion=ingestion, layers_told=LAYERS_TOLD),
                Middleware(NaiveMeter, bill=folders.naive_bill),
            ],
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with self._ingestion:
            yield

    async def film(self, request: Request) -> Response:
        """Serve the film, whole or in ranges."""
        bill(request, stream_type="download", quality=viewer(request).quality)
        return FileResponse(self._folders.media / FILM)

    async def hls(self, request: Request) -> Response:
        """Serve a media playlist or a segment of one rendition."""
        quality, part = request.path_params["quality"], request.path_params["part"]
        path = self._folders.media / quality / part
        if path.parent.parent != self._folders.media or not path.is_file():
            raise HTTPException(404)
        bill(request, stream_type="video", quality=quality)
        return FileResponse(path)

    async def telemetry(self, websocket: WebSocket) -> None:
        """Send a reading at a steady pace until the listener asks for the end."""
        bill(websocket, stream_type="realtime", quality=TELEMETRY)
        await websocket.accept()
        stop = asyncio.create_task(websocket.receive_text())
        try:
            while not stop.done():
                await websocket.send_text(reading())
                await asyncio.wait((stop,), timeout=TELEMETRY_INTERVAL_S)
        finally:
            stop.cancel()
        with contextlib.suppress(RuntimeError):
            await websocket.close()

    async def ledger(self, _: Request) -> Response:
        """Deliver what is pending, also of processes that are gone, then show the SDK's account."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                await self._ingestion.aflush(SETTLE_TIMEOUT_S)
                # A spool is removed when all of it is delivered; our own stays.
                while spool_count(self._folders.spool) > 1:  # noqa: ASYNC110 - files tell nobody
                    await asyncio.sleep(_SPOOL_POLL_S)
        body = msgspec.json.encode(self._ingestion.stats())
        return Response(body, media_type="application/json")


def spool_count(folder: Path) -> int:
    """Return how many spools are in a spool directory, beside the file that elects a deliverer."""
    with os.scandir(folder) as entries:
        return sum(entry.is_dir(follow_symlinks=False) for entry in entries)


def viewer(connection: Request | WebSocket) -> Viewer:
    """Return whose token the address carries."""
    found = viewer_of(connection.path_params["token"])
    if found is None:
        raise HTTPException(403)
    return found


def bill(connection: Request | WebSocket, *, stream_type: str, quality: str) -> None:
    """Have the response billed to the owner of the token."""
    metadata = {"stream_type": stream_type, "quality": quality}
    bill_to(connection, customer_id=viewer(connection).customer_id, metadata=metadata)


def reading() -> str:
    """Return one reading of a pretended machine."""
    at = time.time_ns()
    channels = {f"channel_{number}": at % (1_000 + number) for number in range(24)}
    return msgspec.json.encode({"at": at, **channels}).decode()


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(prog="streamgauge.demo.platform")
    parser.add_argument("--listener", type=int, required=True, help="descriptor to accept on")
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--naive-bill", type=Path, required=True)
    parser.add_argument("--witness-page", type=Path, required=True)
    parser.add_argument("--base-url", required=True, help="where usage goes")
    options = parser.parse_args()
    end_with_parent()
    ingestion = Ingestion(
        environment="test_mode",
        event_name=EVENT_NAME,
        base_url=options.base_url,
        spool_dir=options.spool,
        flush_interval_s=FLUSH_INTERVAL_S,
    )
    folders = Folders(
        media=options.media,
        spool=options.spool,
        naive_bill=options.naive_bill,
        witness_page=options.witness_page,
    )
    platform = Platform(ingestion, folders)
    with socket.socket(fileno=options.listener) as listener:
        config = uvicorn.Config(platform.app, log_level="warning", ws="websockets-sansio")
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
