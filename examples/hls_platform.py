"""An HLS platform: every viewer pays for bytes, and every playback is told when it is over.

Run `python hls_platform.py`. `DODO_PAYMENTS_API_KEY` is your key, `STREAMGAUGE_URL` your server
(without it: Dodo Payments' own), `MEDIA` a folder with one folder a title, as encoders make them:

    ffplay "http://127.0.0.1:9000/token-of-ann/film/main.m3u8"
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, Response

from streamgauge import Ingestion, StreamBytesMiddleware, bill_to
from streamgauge.playback import Manifests, PlaybackSession, PlaybackSessions

URL = os.environ.get("STREAMGAUGE_URL")
MEDIA = Path(os.environ.get("MEDIA", "media")).resolve()
CUSTOMERS = {"token-of-ann": "customer_ann", "token-of-bob": "customer_bob"}


def told(one: PlaybackSession) -> None:
    print(f"{one.customer_id} {one.key} {one.media_s} s {one.quality} {one.wire.bytes} bytes")


ingestion = Ingestion(environment="test_mode", event_name="stream_consumption", base_url=URL)
manifests = Manifests(lambda request: request.path_params["path"])
sessions = PlaybackSessions(
    lambda measured: measured.metadata.get("title"), media=manifests, on_ended=told
)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with ingestion:
        yield
    sessions.close()


app = FastAPI(lifespan=lifespan)
app.add_middleware(StreamBytesMiddleware, ingestion=ingestion, on_measured=sessions)


@app.get("/{token}/{path:path}")
def media(request: Request, token: str, path: str) -> Response:
    file = (MEDIA / path).resolve()
    if token not in CUSTOMERS or not file.is_relative_to(MEDIA) or not file.is_file():
        raise HTTPException(404)
    bill_to(request, customer_id=CUSTOMERS[token], metadata={"title": path.partition("/")[0]})
    if file.suffix == ".m3u8":
        manifests.add_hls(path, file.read_text())
    return FileResponse(file)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "9000")))
