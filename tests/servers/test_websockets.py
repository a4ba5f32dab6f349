"""WebSockets: messages as the application sends them, and what the connection carried of them."""

from __future__ import annotations

import pytest
from websockets.sync.client import connect

from tests.servers.running import ROWS, Servers

SERVERS = (
    "uvicorn h11 asyncio",
    "uvicorn httptools uvloop",
    "hypercorn HTTP/1.1",
    "gunicorn asgi worker",
    "granian ASGI",
    "daphne",
)
COUNT, SIZE = 20, 3_000


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_are_billed_as_they_were_sent(
    servers: Servers, customer: str, name: str, compression: str | None
) -> None:
    server = servers.of(ROWS[name])
    address = f"ws://127.0.0.1:{server.ports[ROWS[name].port]}/?size={COUNT * SIZE}&chunk={SIZE}"
    got = 0
    with connect(
        address,
        additional_headers={"x-customer": customer},
        compression="deflate" if compression else None,
    ) as socket:
        for _ in range(COUNT):
            got += len(socket.recv())
            socket.send(b"more")
    (one,) = server.measured(customer)
    assert one["payload"]["bytes"] == got == COUNT * SIZE
    http = one["http"]["bytes"]
    if compression is None:
        assert got < http < got + 1_500
    else:
        # Every message is like the first, where a server compresses.
        assert SIZE < http < got + 1_500
    assert one["tls"]["how"] == "measured"
    server.billed(customer, got)
