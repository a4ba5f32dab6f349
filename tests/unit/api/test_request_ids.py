from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import httpx
import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from streamgauge.server.api.request_ids import request_id
from streamgauge.server.telemetry import RequestLog, configure_logging

_log = logging.getLogger("streamgauge.server.tests")


async def _view(request: Request) -> Response:
    _log.warning("working")
    await asyncio.to_thread(_log.warning, "in a thread")
    return PlainTextResponse(request_id(request.scope), 201)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    configure_logging(level="info", as_json=True)
    yield written
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    structlog.reset_defaults()


def ask(*given: bytes | str | None) -> list[httpx.Response]:
    app = RequestLog(Starlette(routes=[Route("/", _view)]))

    async def all_of_them() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            headers = [[] if text is None else [("X-Request-Id", text)] for text in given]
            return list(
                await asyncio.gather(
                    *(client.get("/", headers=httpx.Headers(one)) for one in headers)
                )
            )

    return asyncio.run(all_of_them())


def test_every_line_of_a_request_names_it_also_of_those_that_run_at_once(
    lines: io.StringIO,
) -> None:
    given = [f"trace-{number}/a=b@c" for number in range(5)]
    for response, id in zip(ask(*given), given, strict=True):
        assert response.headers.get_list("x-request-id") == [id]
        assert response.text == id
    logged = [json.loads(line) for line in lines.getvalue().splitlines()]
    logged = [line for line in logged if line["logger"].startswith("streamgauge")]
    for id in given:
        texts = [line["event"] for line in logged if line["request_id"] == id]
        assert texts == ["working", "in a thread", "request"]
    (last,) = [line for line in logged if line["request_id"] == given[0] and "status" in line]
    assert (last["method"], last["path"], last["status"]) == ("GET", "/", 201)


@pytest.mark.parametrize(
    "insane", ["", "a b", b"\xc3\xa9", 'x"y', "-first", "a" * 129, "a;b", None]
)
def test_an_id_that_is_not_sane_is_replaced(insane: bytes | str | None) -> None:
    (response,) = ask(insane)
    assert response.headers["x-request-id"].startswith("req_")
    assert response.text == response.headers["x-request-id"]
