"""A video platform: every viewer pays for the bytes of the files that are sent to them.

Run `python video_platform.py`. `DODO_PAYMENTS_API_KEY` is your key, `STREAMGAUGE_URL` your server
(without it: Dodo Payments' own), `MEDIA` a folder of files such as `film-1080p.mp4`. Then:

    curl -O "http://127.0.0.1:9000/video/film-1080p.mp4?token=token-of-ann"
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse

from streamgauge import Ingestion, StreamBytesMiddleware, bill_to

URL = os.environ.get("STREAMGAUGE_URL")
MEDIA = Path(os.environ.get("MEDIA", "media"))
CUSTOMERS = {"token-of-ann": "customer_ann", "token-of-bob": "customer_bob"}

ingestion = Ingestion(environment="test_mode", event_name="stream_consumption", base_url=URL)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with ingestion:
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(StreamBytesMiddleware, ingestion=ingestion)


def viewer(token: str) -> str:
    if token not in CUSTOMERS:
        raise HTTPException(401, "unknown token")
    return CUSTOMERS[token]


@app.get("/video/{title}-{quality}.mp4")
async def video(
    request: Request,
    title: Literal["film", "trailer"],
    quality: Literal["480p", "720p", "1080p"],
    customer_id: Annotated[str, Depends(viewer)],
) -> FileResponse:
    bill_to(request, customer_id=customer_id, metadata={"title": title, "quality": quality})
    return FileResponse(MEDIA / f"{title}-{quality}.mp4")


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "9000")))
