"""What is particular to aiohttp: compression in the writer, files, errors, WebSockets."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.servers.running import ROWS, Running, Servers

ROW = ROWS["aiohttp.web"]


@pytest.fixture
def server(servers: Servers) -> Running:
    return servers.of(ROW)


def address(server: Running, target: str) -> str:
    return f"http://127.0.0.1:{server.ports[ROW.port]}{target}"


@pytest.mark.parametrize(
    "target", ["/whole?size=70000&compress=1", "/stream?size=70000&compress=1&framing=chunked"]
)
def test_compressed_bytes_are_billed_compressed(
    server: Running, customer: str, target: str
) -> None:
    headers = {"x-customer": customer, "accept-encoding": "deflate"}
    with httpx.stream("GET", address(server, target), headers=headers) as response:
        raw = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == "deflate"
    (one,) = server.measured(customer)
    assert one["payload"]["bytes"] == len(raw)
    server.billed(customer, len(raw))


@pytest.mark.parametrize("ranges", ["0-0", "1000-99999", "-5"])
def test_ranges_of_files_are_billed_as_they_were_sent(
    server: Running, customer: str, tmp_path: Path, ranges: str
) -> None:
    path = tmp_path / "small.bin"
    path.write_bytes(bytes(200_000))
    headers = {"x-customer": customer, "range": f"bytes={ranges}"}
    got = httpx.get(address(server, f"/file?path={path}"), headers=headers)
    assert got.status_code == 206
    server.billed(customer, len(got.content))


@pytest.mark.parametrize(
    ("method", "target"), [("HEAD", "/stream?size=9"), ("GET", "/stream?status=204")]
)
def test_a_response_without_a_body_is_free(
    server: Running, customer: str, method: str, target: str
) -> None:
    mark = len(server.lines)
    httpx.request(method, address(server, target), headers={"x-customer": customer})
    (one,) = server.since(mark, 1)
    assert one["payload"]["bytes"] == server.total(customer) == 0


def test_the_servers_own_error_is_billed_to_nobody(server: Running, customer: str) -> None:
    mark = len(server.lines)
    headers = {"x-customer": customer}
    got = httpx.get(address(server, "/whole?size=no"), headers=headers)
    (one,) = server.since(mark, 1)
    assert (got.status_code, one["payload"]["bytes"], server.total(customer)) == (500, 0, 0)


@pytest.mark.parametrize("compression", ["", "&deflate=1"])
def test_a_websocket_is_billed_by_what_the_connection_carried(
    server: Running, customer: str, compression: str
) -> None:
    url = address(server, f"/?size=60000&chunk=3000{compression}").replace("http:", "ws:")
    with connect(url, additional_headers={"x-customer": customer}) as socket:
        for _ in range(20):
            socket.recv()
            socket.send(b"more")
    (one,) = server.measured(customer)
    payload = one["payload"]
    if compression:
        assert 3_000 < payload["bytes"] < 10_000
    else:
        # A frame's head is of 4 bytes, and the closing one of 4 in all.
        assert 60_000 + 20 * 4 <= payload["bytes"] <= 60_000 + 20 * 4 + 10
    assert payload["how"] == "estimated"
    server.billed(customer, payload["bytes"])
