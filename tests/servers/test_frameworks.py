"""Frameworks on the servers that people run them on: streams, files, ranges, events, WebSockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.servers.running import ROWS, Servers

ON = (
    ("starlette", "uvicorn httptools uvloop"),
    ("starlette", "hypercorn HTTP/1.1"),
    ("starlette", "granian ASGI"),
    ("starlette", "daphne"),
    ("fastapi", "uvicorn h11 asyncio"),
    ("fastapi", "gunicorn uvicorn worker"),
    ("django-asgi", "uvicorn h11 asyncio"),
    ("django-asgi", "daphne"),
    ("django-wsgi", "gunicorn sync"),
    ("django-wsgi", "gunicorn gthread"),
    ("flask", "gunicorn sync"),
    ("flask", "gunicorn gthread"),
    ("flask", "gunicorn gevent"),
)
# Django serves no ranges.
RANGES = tuple(pair for pair in ON if not pair[0].startswith("django"))
EVENTS = tuple(pair for pair in ON if pair[0] in {"starlette", "fastapi"})
SIZE = 300_007
on_each = pytest.mark.parametrize(("framework", "name"), ON)


def get(servers: Servers, name: str, path: str, customer: str, **headers: str) -> httpx.Response:
    server = servers.of(ROWS[name])
    address = f"http://127.0.0.1:{server.ports[ROWS[name].port]}{path}"
    return httpx.get(address, headers={"x-bill-to": customer, **headers})


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.bin"
    path.write_bytes(bytes(range(256)) * 500)
    return path


@on_each
def test_a_stream_is_billed_to_whom_the_endpoint_names(
    servers: Servers, customer: str, framework: str, name: str
) -> None:
    got = get(servers, name, f"/{framework}/stream?size={SIZE}", customer)
    (one,) = servers.of(ROWS[name]).measured(customer)
    assert (got.status_code, one["payload"]["bytes"]) == (200, len(got.content)) == (200, SIZE)
    servers.of(ROWS[name]).billed(customer, SIZE)


@on_each
def test_a_file_is_billed_to_the_byte(
    servers: Servers, customer: str, small: Path, framework: str, name: str
) -> None:
    got = get(servers, name, f"/{framework}/file?path={small}", customer)
    assert got.content == small.read_bytes()
    (one,) = servers.of(ROWS[name]).measured(customer)
    assert one["is_complete"]
    servers.of(ROWS[name]).billed(customer, 128_000)


@pytest.mark.parametrize(("framework", "name"), RANGES)
def test_ranges_are_billed_as_they_were_sent(
    servers: Servers, named: Callable[[str], str], small: Path, framework: str, name: str
) -> None:
    # Flask refuses several ranges at once, and that answer is billed as it is.
    for number, ranges in enumerate(("0-0", "1000-99999", "-5", "0-99,200-299,-1")):
        customer = named(f"range-{number}")
        path = f"/{framework}/file?path={small}"
        got = get(servers, name, path, customer, range=f"bytes={ranges}")
        assert got.status_code in {200, 206, 416}
        servers.of(ROWS[name]).billed(customer, len(got.content))


@pytest.mark.parametrize(("framework", "name"), EVENTS)
def test_server_sent_events_are_billed(
    servers: Servers, customer: str, framework: str, name: str
) -> None:
    got = get(servers, name, f"/{framework}/events", customer)
    assert got.headers["content-type"].startswith("text/event-stream")
    servers.of(ROWS[name]).billed(customer, len(got.content))
