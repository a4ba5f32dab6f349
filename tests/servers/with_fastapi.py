"""The application in FastAPI, which reads annotations of a module's own names."""

from __future__ import annotations

import fastapi
from fastapi.responses import FileResponse, Response, StreamingResponse

from streamgauge.asgi import bill_to
from tests.servers.frameworks import chunks, events_of

app = fastapi.FastAPI()


def payer(request: fastapi.Request) -> None:
    bill_to(request, customer_id=request.headers["x-bill-to"])


@app.get("/fastapi/stream", dependencies=[fastapi.Depends(payer)])
def stream(size: int) -> Response:
    return StreamingResponse(chunks(size))


@app.get("/fastapi/file", dependencies=[fastapi.Depends(payer)])
async def file(path: str) -> Response:
    return FileResponse(path)


@app.get("/fastapi/events", dependencies=[fastapi.Depends(payer)])
async def events() -> Response:
    return StreamingResponse(events_of(), media_type="text/event-stream")
