"""A uvicorn that streams ``/TOTAL/SIZE``: so many bytes in chunks of that size, metered or not."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvicorn

from streamgauge import Ingestion
from streamgauge.asgi import StreamBytesMiddleware
from streamgauge.testing import MemorySink

App = Callable[..., Coroutine[Any, Any, None]]


async def unmetered(scope: Any, _receive: Any, send: Any) -> None:
    """Stream what the path asks for."""
    total, size = map(int, scope["path"].split("/")[1:])
    headers = [(b"content-length", str(total).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    body = {"type": "http.response.body", "body": bytes(size), "more_body": True}
    for _ in range(total // size):
        await send(body)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def naive(app: App) -> App:
    """Return what most people write first."""
    totals: dict[str, int] = {}

    async def metered(scope: Any, receive: Any, send: Any) -> None:
        total = 0

        async def counted(message: Any) -> None:
            nonlocal total
            if message["type"] == "http.response.body":
                total += len(message.get("body", b""))
            await send(message)

        await app(scope, receive, counted)
        totals[scope["path"]] = totals.get(scope["path"], 0) + total

    return metered


def ours(app: App, layer: str, folder: Path) -> App:
    """Return the application behind our middleware."""
    ingestion = Ingestion(
        environment="test_mode",
        event_name="stream_consumption",
        spool_dir=folder / layer,
        sink=MemorySink(),
    )
    return StreamBytesMiddleware(
        app,
        ingestion=ingestion,
        layer=layer,
        layers_told=("http", "tls", "wire"),
        customer=lambda _: "customer_123",
    )


VARIANTS: dict[str, Callable[[Path], App]] = {
    "unmetered": lambda _: unmetered,
    "unmetered, a second one": lambda _: unmetered,
    "ours, payload": lambda folder: ours(unmetered, "payload", folder),
    "ours, wire": lambda folder: ours(unmetered, "wire", folder),
    "naive: async send, n += len": lambda _: naive(unmetered),
}


def main() -> None:
    """Serve on the descriptor of a listening socket until terminated."""
    variant, descriptor, folder = sys.argv[1:]
    config = uvicorn.Config(
        VARIANTS[variant](Path(folder)),
        log_level="critical",
        lifespan="off",
        loop="uvloop",
        http="httptools",
        access_log=False,
    )
    with socket.socket(fileno=int(descriptor)) as listener:
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
