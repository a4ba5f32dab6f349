"""A live event: one camera publishes to `/publish`, viewers watch at `/watch/{name}` and pay.

Run `python live_event.py`. `DODO_PAYMENTS_API_KEY` is your key, `STREAMGAUGE_URL` your server
(without it: Dodo Payments' own). Both sides are WebSockets of binary frames.
"""

import os
from asyncio import Queue, create_task
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from streamgauge import Ingestion

URL = os.environ.get("STREAMGAUGE_URL")
ingestion = Ingestion(environment="test_mode", event_name="stream_consumption", base_url=URL)
audience: set[Queue[bytes]] = set()


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    async with ingestion:
        yield


async def publish(camera: WebSocket) -> None:
    await camera.accept()
    async for frame in camera.iter_bytes():
        for queue in audience:
            if not queue.full():  # Who is too slow misses frames, and does not pay for them.
                queue.put_nowait(frame)


async def watch(viewer: WebSocket) -> None:
    async def send() -> None:
        with suppress(WebSocketDisconnect):
            while frame := await queue.get():
                session.add(len(frame))
                await viewer.send_bytes(frame)

    queue: Queue[bytes] = Queue(100)
    with ingestion.session(customer_id=f"customer_{viewer.path_params['name']}") as session:
        audience.add(queue)
        await viewer.accept()
        sending = create_task(send())
        async for _ in viewer.iter_bytes():
            pass  # Viewers only watch; this ends when they leave.
        sending.cancel()
        audience.discard(queue)


routes = [WebSocketRoute("/publish", publish), WebSocketRoute("/watch/{name}", watch)]
app = Starlette(routes=routes, lifespan=lifespan)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "9000")))
