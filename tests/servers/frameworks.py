"""The same application in each framework: ``/NAME/stream``, ``/NAME/file``, ``/NAME/events``.

Each names the customer with ``bill_to``, from inside, by the header ``x-bill-to``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from streamgauge.asgi import bill_to
from tests.servers.applications import BLOCK


def starlette_app() -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import FileResponse, Response, StreamingResponse
    from starlette.routing import Route

    def name(request: Request) -> None:
        bill_to(request, customer_id=request.headers["x-bill-to"])

    async def stream(request: Request) -> Response:
        name(request)
        return StreamingResponse(async_chunks(int(request.query_params["size"])))

    async def file(request: Request) -> Response:
        name(request)
        return FileResponse(request.query_params["path"])

    async def events(request: Request) -> Response:
        name(request)
        return StreamingResponse(events_of(), media_type="text/event-stream")

    return Starlette(
        routes=[
            Route("/starlette/stream", stream),
            Route("/starlette/file", file),
            Route("/starlette/events", events),
        ]
    )


def fastapi_app() -> Any:
    from tests.servers.with_fastapi import app

    return app


def flask_app() -> Any:
    import flask

    app = flask.Flask(__name__)

    @app.before_request
    def payer() -> None:
        bill_to(flask.request, customer_id=flask.request.headers["x-bill-to"])

    @app.get("/flask/stream")
    def stream() -> Any:
        return flask.Response(chunks(int(flask.request.args["size"])))

    @app.get("/flask/file")
    def file() -> Any:
        return flask.send_file(flask.request.args["path"], conditional=True)

    return app.wsgi_app


def _configure_django() -> None:
    import django
    from django.conf import settings
    from django.http import FileResponse, StreamingHttpResponse
    from django.urls import path

    def named(request: Any) -> Any:
        bill_to(request, customer_id=request.headers["x-bill-to"])
        return request

    def stream(request: Any) -> Any:
        return StreamingHttpResponse(chunks(int(named(request).GET["size"])))

    async def async_stream(request: Any) -> Any:
        return StreamingHttpResponse(async_chunks(int(named(request).GET["size"])))

    def file(request: Any) -> Any:
        return FileResponse(Path(named(request).GET["path"]).open("rb"))

    if not settings.configured:
        urls = [
            path("django-wsgi/stream", stream),
            path("django-wsgi/file", file),
            path("django-asgi/stream", async_stream),
            path("django-asgi/file", file),
        ]
        settings.configure(ROOT_URLCONF=tuple(urls), ALLOWED_HOSTS=["*"], SECRET_KEY="tests")
        django.setup()


def django_wsgi_app() -> Any:
    from django.core.handlers.wsgi import WSGIHandler

    _configure_django()
    return WSGIHandler()


def django_asgi_app() -> Any:
    from django.core.handlers.asgi import ASGIHandler

    _configure_django()
    return ASGIHandler()


def chunks(size: int) -> Iterator[bytes]:
    for start in range(0, size, 10_007):
        yield BLOCK[: min(10_007, size - start)]


async def async_chunks(size: int) -> AsyncIterator[bytes]:
    for chunk in chunks(size):
        yield chunk
        await asyncio.sleep(0)


async def events_of() -> AsyncIterator[bytes]:
    for number in range(100):
        yield f"id: {number}\ndata: {'x' * number}\n\n".encode()
