from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.sync.client import connect

from streamgauge import StreamSession
from streamgauge.asgi import bill_to

Serve = Callable[..., Any]
both = pytest.mark.parametrize("serve", ["h11", "httptools"], indirect=True)


def _app(endpoint: Any) -> Starlette:
    return Starlette(routes=[WebSocketRoute("/", endpoint)])


def _read_all(address: str) -> list[str | bytes]:
    with connect(address.replace("http", "ws"), proxy=None) as client:
        return list(client)


@both
def test_messages_are_billed_by_their_bytes_in_utf_8(
    serve: Serve, sessions: list[StreamSession]
) -> None:
    async def feed(websocket: WebSocket) -> None:
        bill_to(websocket, customer_id="ann", metadata={"stream_type": "telemetry"})
        await websocket.accept()
        await websocket.send_bytes(b"\0" * 5_000)
        await websocket.send_text("plain")
        await websocket.send_text("Größe \N{TELEVISION}")
        await websocket.send_json({"speed": 7})
        await websocket.close(reason="the reason is not billed")

    billed = serve(_app(feed))
    received = _read_all(billed.address)
    sizes = [len(part.encode() if isinstance(part, str) else part) for part in received]
    assert sizes == [5_000, 5, 12, 11]
    assert billed.by_customer() == {"ann": sum(sizes)}
    assert not sessions[0].is_counting


def test_messages_before_the_customer_is_known_are_billed_to_it_too(serve: Serve) -> None:
    async def feed(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("who are you?")
        bill_to(websocket, customer_id=await websocket.receive_text())
        await websocket.send_text("welcome")
        await websocket.close()

    billed = serve(_app(feed))
    with connect(billed.address.replace("http", "ws"), proxy=None) as client:
        assert client.recv() == "who are you?"
        client.send("ann")
        assert client.recv() == "welcome"
    assert billed.by_customer() == {"ann": 12 + 7}
    assert billed.meter.unattributed_bytes == 0


def test_a_change_of_quality_bills_what_follows_under_it(
    serve: Serve, streamgauge_sink: Any
) -> None:
    async def feed(websocket: WebSocket) -> None:
        await websocket.accept()
        for quality, size in (("hd", 3_000), ("hd", 3_000), ("sd", 100)):
            bill_to(websocket, customer_id="ann", metadata={"quality": quality})
            await websocket.send_bytes(b"x" * size)
        await websocket.close()

    billed = serve(_app(feed))
    assert len(_read_all(billed.address)) == 3
    assert billed.by_customer() == {"ann": 6_100}
    by_quality = {event.metadata["quality"]: event.bytes for event in streamgauge_sink.events}
    assert by_quality == {"hd": 6_000, "sd": 100}


@both
def test_a_listener_that_leaves_ends_the_session(
    serve: Serve, sessions: list[StreamSession]
) -> None:
    async def feed(websocket: WebSocket) -> None:
        bill_to(websocket, customer_id="ann")
        await websocket.accept()
        try:
            while True:
                await websocket.receive_text()
                await websocket.send_bytes(b"x" * 1_000)
        except WebSocketDisconnect:
            # The server takes these in silence; nobody gets them.
            await websocket.send_bytes(b"y" * 77_777)

    billed = serve(_app(feed))
    with connect(billed.address.replace("http", "ws"), proxy=None) as client:
        for _ in range(3):
            client.send("more")
            client.recv()
    assert billed.by_customer() == {"ann": 3_000}
    assert not sessions[0].is_counting
