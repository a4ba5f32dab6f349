"""A music service: the chunks of a song are counted on their way to the listener.

Run `python music_streaming.py`. `DODO_PAYMENTS_API_KEY` is your key, `STREAMGAUGE_URL` your server
(without it: Dodo Payments' own), `MEDIA` a folder of files such as `song.mp3`. Then:

    curl "http://127.0.0.1:9000/ann/song.mp3" | mpg123 -
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from streamgauge import Ingestion, measure

URL = os.environ.get("STREAMGAUGE_URL")
MEDIA = Path(os.environ.get("MEDIA", "media"))

ingestion = Ingestion(environment="test_mode", event_name="stream_consumption", base_url=URL)


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    async with ingestion:
        yield


async def chunks_of(song: anyio.Path) -> AsyncIterator[bytes]:
    async with await song.open("rb") as file:
        while chunk := await file.read(32 * 1024):
            yield chunk


async def listen(request: Request) -> StreamingResponse:
    song = anyio.Path(MEDIA / request.path_params["name"])
    if not await song.is_file():
        raise HTTPException(404)
    customer_id = f"customer_{request.path_params['listener']}"
    metadata = {"stream_type": "audio", "format": song.suffix[1:]}
    chunks = measure(chunks_of(song), ingestion, customer_id=customer_id, metadata=metadata)
    return StreamingResponse(chunks, media_type="audio/mpeg")


app = Starlette(routes=[Route("/{listener}/{name}", listen)], lifespan=lifespan)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "9000")))
