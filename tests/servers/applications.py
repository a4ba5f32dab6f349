"""Applications that are served: raw ones that do what frameworks would not, and frameworks.

``/stream?size=&chunk=&framing=length|chunked&status=``, ``/file?path=``, ``/broken?size=``,
``/lie?size=&declared=``, ``/items``, ``/upload``, and WebSockets of ``size`` in ``chunk``.
A customer is named by the header ``x-customer``; ``/flask``, ``/django``, ``/starlette`` and
``/fastapi`` are applications of these with ``/NAME/stream`` and ``/NAME/file``.
"""

from __future__ import annotations

import array
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from streamgauge.asgi import StreamBytesMiddleware as AsgiMiddleware
from streamgauge.streams.view import RequestView
from streamgauge.wsgi import StreamBytesMiddleware as WsgiMiddleware
from tests.servers.printing import ingestion, tell, tell_measured

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
BLOCK = os.urandom(1 << 20)


def asgi(spool: Path, **options: Any) -> Any:
    """Return the metered ASGI application."""
    return AsgiMiddleware(_naive_asgi, **_choices(spool, options))


def wsgi(spool: Path, **options: Any) -> Any:
    """Return the metered WSGI application."""
    return WsgiMiddleware(_naive_wsgi, **_choices(spool, options))


def aiohttp_web(spool: Path, **options: Any) -> Any:
    """Return the metered aiohttp application."""
    from aiohttp import web

    from streamgauge.aiohttp import StreamBytesMiddleware

    async def file(request: Any) -> Any:
        tell("naive", [request.headers.get("x-customer", ""), 0])
        return web.FileResponse(request.query["path"])

    async def chat(request: Any, query: dict[str, str]) -> Any:
        socket = web.WebSocketResponse(compress="deflate" in query)
        await socket.prepare(request)
        for part in _parts(query):
            await socket.send_bytes(part)
            await socket.receive()
        await socket.receive()
        return socket

    async def whole(request: Any) -> Any:
        answer = web.Response(body=BLOCK[: int(request.query["size"])])
        if "compress" in request.query:
            answer.enable_compression()
        return answer

    async def stream(request: Any) -> Any:
        query = dict(request.query)
        if request.headers.get("upgrade"):
            return await chat(request, query)
        status, headers = _head(query)
        response = web.StreamResponse(status=status, headers=dict(headers))
        if "compress" in query:
            response.enable_compression()
        await response.prepare(request)
        counted = 0
        try:
            for part in _parts(query):
                counted += len(part)
                await response.write(part)
        finally:
            tell("naive", [request.headers.get("x-customer", ""), counted])
        return response

    app = web.Application(middlewares=[StreamBytesMiddleware(**_choices(spool, options))])
    app.add_routes([web.get("/file", file), web.get("/whole", whole), web.get("/{_:.*}", stream)])
    return app


def _choices(spool: Path, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "ingestion": ingestion(spool),
        "customer": customer,
        "on_measured": tell_measured,
        **options,
    }


def customer(request: RequestView) -> str | None:
    return request.headers.get("x-customer")


async def _naive_asgi(scope: Scope, receive: Receive, send: Send) -> None:
    """Count the way everybody would, beside us."""
    counted = 0

    async def counting(message: dict[str, Any]) -> None:
        nonlocal counted
        counted += len(message.get("body") or b"")
        await send(message)

    try:
        await _asgi(scope, receive, counting)
    finally:
        if scope["type"] == "http":
            tell("naive", [_named(scope), counted])


def _named(scope: Scope) -> str:
    return dict(scope["headers"]).get(b"x-customer", b"").decode()


async def _asgi(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    query = {name: value[0] for name, value in parse_qs(scope["query_string"].decode()).items()}
    part = scope["path"].split("/")[1]
    if scope["type"] == "websocket":
        await _chat(query, receive, send)
    elif part in FRAMEWORKS:
        await FRAMEWORKS[part]()(scope, receive, send)
    elif part == "broken":
        await _broken(query, send)
    elif part == "upload":
        await _upload(receive, send)
    elif part == "items":
        await _items(send)
    elif part == "text":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": "text"})
    elif part == "file":
        await _file(scope, query, send)
    else:
        await _stream(query, send)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _head(query: dict[str, str]) -> tuple[int, list[tuple[str, str]]]:
    size, status = query.get("size", "0"), int(query.get("status", "200"))
    headers = [("content-type", "application/octet-stream")]
    if query.get("framing") != "chunked" and status == 200:
        headers.append(("content-length", query.get("declared", size)))
    return status, headers


def _parts(query: dict[str, str]) -> Iterator[bytes]:
    size, chunk = int(query.get("size", "0")), int(query.get("chunk", "65536"))
    for start in range(0, size, chunk):
        yield BLOCK[: min(chunk, size - start)]


async def _stream(query: dict[str, str], send: Send) -> None:
    status, headers = _head(query)
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    for body in _parts(query):
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body"})


async def _broken(query: dict[str, str], send: Send) -> None:
    if int(query.get("size", "0")):
        await send({"type": "http.response.start", "status": 200, "headers": []})
    for body in _parts(query):
        await send({"type": "http.response.body", "body": body, "more_body": True})
    raise RuntimeError("on purpose")


async def _upload(receive: Receive, send: Send) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await _stream({"size": str(size % 1000)}, send)


async def _items(send: Send) -> None:
    # 300 bytes in items of four.
    body = memoryview(array.array("i", range(75)))
    headers = [(b"content-length", b"300")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _file(scope: Scope, query: dict[str, str], send: Send) -> None:
    path = query["path"]
    size = _size_of_file(path)
    headers = [(b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if "http.response.pathsend" in scope.get("extensions", {}):
        await send({"type": "http.response.pathsend", "path": path})
        return
    for body in _parts({"size": str(size)}):
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body"})


def _size_of_file(path: str) -> int:
    return Path(path).stat().st_size


async def _chat(query: dict[str, str], receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    for body in _parts(query):
        await send({"type": "websocket.send", "bytes": body})
        await receive()
    await receive()


def _naive_wsgi(environ: dict[str, Any], start_response: Any) -> Any:
    query = {name: value[0] for name, value in parse_qs(environ["QUERY_STRING"]).items()}
    part = environ["PATH_INFO"].split("/")[1]
    if part == "file" or part in FRAMEWORKS:
        # A generator around a file wrapper would keep the server from sending the file itself.
        tell("naive", [environ.get("HTTP_X_CUSTOMER", ""), 0])
        return _wsgi(part, query, environ, start_response)
    return _counted(environ, _wsgi(part, query, environ, start_response))


def _counted(environ: dict[str, Any], chunks: Iterable[bytes]) -> Iterator[bytes]:
    counted = 0
    try:
        for chunk in chunks:
            counted += len(chunk)
            yield chunk
    finally:
        tell("naive", [environ.get("HTTP_X_CUSTOMER", ""), counted])


def _wsgi(part: str, query: dict[str, str], environ: dict[str, Any], start_response: Any) -> Any:
    if part in FRAMEWORKS:
        return FRAMEWORKS[part]()(environ, start_response)
    if part == "file":
        file = Path(query["path"]).open("rb")  # noqa: SIM115 - the server closes it
        length = str(os.fstat(file.fileno()).st_size)
        start_response("200 OK", [("Content-Length", length)])
        wrapper = environ.get("wsgi.file_wrapper")
        return wrapper(file) if wrapper else iter(lambda: file.read(65_536), b"")
    if part == "broken":
        return _broken_wsgi(query, start_response)
    if part == "upload":
        size = 0
        while data := environ["wsgi.input"].read(16_384):
            size += len(data)
        query = {"size": str(size % 1000)}
    status, headers = _head(query)
    phrase = {200: "OK", 204: "No Content", 304: "Not Modified"}[status]
    start_response(f"{status} {phrase}", headers)
    return _parts(query)


def _broken_wsgi(query: dict[str, str], start_response: Any) -> Iterator[bytes]:
    if int(query.get("size", "0")):
        start_response("200 OK", [])
    yield from _parts(query)
    raise RuntimeError("on purpose")


def _made(name: str) -> Callable[[], Any]:
    made: list[Any] = []

    def make() -> Any:
        from tests.servers import frameworks

        if not made:
            made.append(getattr(frameworks, name)())
        return made[0]

    return make


FRAMEWORKS = {
    "starlette": _made("starlette_app"),
    "fastapi": _made("fastapi_app"),
    "flask": _made("flask_app"),
    "django-asgi": _made("django_asgi_app"),
    "django-wsgi": _made("django_wsgi_app"),
}
