"""A relay of WebSockets: what one member of a room sends goes to all others, who pay for it.

Run `python websocket_relay.py`. `DODO_PAYMENTS_API_KEY` is your key, `STREAMGAUGE_URL` your server
(without it: Dodo Payments' own). Members connect to `/rooms/{room}?token=token-of-ann`. Frames may
be compressed on their way, so `layer="http"` bills what was sent, and the payload is told beside.
"""

import os
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from streamgauge import Ingestion, StreamBytesMiddleware, bill_to

URL = os.environ.get("STREAMGAUGE_URL")
CUSTOMERS = {"token-of-ann": "customer_ann", "token-of-bob": "customer_bob"}
ingestion = Ingestion(environment="test_mode", event_name="stream_consumption", base_url=URL)
rooms: defaultdict[str, set[WebSocket]] = defaultdict(set)


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    async with ingestion:
        yield


async def member(socket: WebSocket) -> None:
    customer_id = CUSTOMERS.get(socket.query_params.get("token", ""))
    if customer_id is None:
        await socket.close(4401)
        return
    name = socket.path_params["room"]
    bill_to(socket, customer_id=customer_id, metadata={"room": name})
    await socket.accept()
    rooms[name].add(socket)
    try:
        async for data in socket.iter_bytes():
            for other in rooms[name] - {socket}:
                with suppress(WebSocketDisconnect, RuntimeError):  # Who just left pays for nothing.
                    await other.send_bytes(data)
    finally:
        rooms[name].discard(socket)


metered = Middleware(
    StreamBytesMiddleware, ingestion=ingestion, layer="http", layers_told=("payload",)
)
app = Starlette(
    routes=[WebSocketRoute("/rooms/{room}", member)], middleware=[metered], lifespan=lifespan
)
if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "9000")))
