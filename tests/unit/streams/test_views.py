from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import aiohttp
import django
import flask
import httpx
import pytest
from aiohttp import web
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path as django_path
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from streamgauge.asgi import bill_to
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.payers import BILLING_KEY, Payer
from streamgauge.customers import RequestView, view_of

TARGET = "/media/%C3%A4%20b/x.m3u8?a=1&a=2&empty=&t=%C3%B6"
HEADERS = [
    ("X-Customer", "ann"),
    ("Cookie", 'session=s1; quoted="a\\054b"; odd; theme=dark=ish'),
    ("Content-Type", "text/plain"),
]
EXPECTED = {
    "method": "GET",
    "path": "/media/ä b/x.m3u8",
    "query": {"a": "2", "empty": "", "t": "ö"},
    "all of a": ["1", "2"],
    "x-customer": "ann",
    "content-type": "text/plain",
    "missing": None,
    "cookies": {"session": "s1", "quoted": "a,b", "theme": "dark=ish"},
    "peer": "127.0.0.1",
    "path_params": {"title": "ä b"},
}


def facts(view: RequestView) -> dict[str, Any]:
    return {
        "method": view.method,
        "path": view.path,
        "query": dict(view.query),
        "all of a": list(view.query.get_all("a")),
        "x-customer": view.headers["x-CUSTOMER"],
        "content-type": view.headers.get("Content-Type"),
        "missing": view.headers.get("x-missing"),
        "cookies": dict(view.cookies),
        "peer": view.peer,
        "path_params": dict(view.path_params),
    }


class Recorded:
    """Stands where a middleware keeps its response."""

    def __init__(self) -> None:
        self.payers: list[Payer] = []

    def bill_to(self, payer: Payer) -> None:
        self.payers.append(payer)


def shown(request: Any) -> str:
    """Return as JSON what a view says, after the request was billed to somebody."""
    bill_to(request, customer_id="ann", metadata={"quality": "hd"})
    return json.dumps([view_of(request).interface, facts(view_of(request))])


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
def serve_wsgi(recorded: Recorded) -> Iterator[Callable[[Any], str]]:
    servers = []

    def start(app: Any) -> str:
        def kept(environ: dict[str, Any], start_response: Any) -> Any:
            environ[BILLING_KEY] = recorded
            return app(environ, start_response)

        server = make_server("127.0.0.1", 0, kept, handler_class=Quiet)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join(10)
        server.server_close()


class Quiet(WSGIRequestHandler):
    def log_message(self, *_args: Any) -> None:
        pass


def django_view(request: HttpRequest, title: str) -> HttpResponse:
    return HttpResponse(shown(request))


urlpatterns = [django_path("media/<str:title>/x.m3u8", django_view)]


@pytest.fixture
def django_settings() -> Iterator[None]:
    if not settings.configured:
        settings.configure(SECRET_KEY="of all tests")
        django.setup()
    with override_settings(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=[],
    ):
        yield


def ask(address: str) -> Any:
    return httpx.get(address + TARGET, headers=HEADERS, trust_env=False).json()


def test_a_view_of_a_starlette_request_in_a_mounted_application(serve: Any) -> None:
    async def show(request: Request) -> Response:
        return Response(shown(request))

    inner = Mount("/media", routes=[Route("/{title}/x.m3u8", show)])
    billed = serve(Starlette(routes=[inner]))
    assert ask(billed.address) == ["asgi", EXPECTED]
    assert list(billed.by_customer()) == ["ann"]


def test_a_view_of_a_flask_request_also_through_its_proxy(
    serve_wsgi: Callable[[Any], str], recorded: Recorded
) -> None:
    app = flask.Flask(__name__)
    app.add_url_rule("/media/<title>/x.m3u8", view_func=lambda title: shown(flask.request))
    assert ask(serve_wsgi(app)) == ["wsgi", EXPECTED]
    assert recorded.payers == [Payer("ann", {"quality": "hd"})]


def test_a_view_of_a_django_request_under_wsgi(
    django_settings: None, serve_wsgi: Callable[[Any], str], recorded: Recorded
) -> None:
    assert ask(serve_wsgi(get_wsgi_application())) == ["wsgi", EXPECTED]
    assert recorded.payers == [Payer("ann", {"quality": "hd"})]


def test_a_view_of_a_django_request_under_asgi(django_settings: None, serve: Any) -> None:
    billed = serve(get_asgi_application())
    assert ask(billed.address) == ["asgi", EXPECTED]
    assert list(billed.by_customer()) == ["ann"]


@pytest.mark.filterwarnings("ignore:It is recommended to use web.RequestKey")
def test_a_view_of_an_aiohttp_request(recorded: Recorded) -> None:
    async def show(request: web.Request) -> web.Response:
        request[BILLING_KEY] = recorded
        request["user"] = "ann"
        view = view_of(request)
        assert (view.user, view.state["user"], view.raw) == ("ann", "ann", request)
        assert view.peer_port not in {None, 0}
        return web.Response(text=shown(request))

    async def scenario() -> Any:
        app = web.Application()
        app.router.add_get("/media/{title}/x.m3u8", show)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            async with (
                aiohttp.ClientSession(f"http://127.0.0.1:{site.port}") as session,
                session.get(TARGET, headers=HEADERS) as answer,
            ):
                return json.loads(await answer.text())
        finally:
            await runner.cleanup()

    assert asyncio.run(scenario()) == ["aiohttp", EXPECTED]
    assert recorded.payers == [Payer("ann", {"quality": "hd"})]


def test_a_view_is_read_only_and_reads_what_it_is_asked_for_only() -> None:
    class Trap(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise AssertionError(key)

        def get(self, key: str, default: Any = None) -> Any:
            if key not in {"path", "state", "session"}:
                raise AssertionError(key)
            return {"path": "/", "state": {"a": 1}, "session": None}[key]

    view = view_of(Trap(type="http"))
    assert (view.path, view.state["a"], dict(view.session)) == ("/", 1, {})
    with pytest.raises(TypeError):
        view.state["a"] = 2  # type: ignore[index]
    with pytest.raises(AttributeError):
        view.path = "/other"  # type: ignore[misc]


def test_a_view_keeps_values_out_of_its_text() -> None:
    view = view_of({"type": "http", "path": "/p", "headers": [(b"cookie", b"token=secret")]})
    assert "secret" not in f"{view!r} {view.headers!r} {view.cookies!r}"


def test_a_query_of_too_many_fields_is_refused_when_it_is_read() -> None:
    view = view_of({"type": "http", "path": "/p", "query_string": b"&".join([b"a=1"] * 1_001)})
    assert view.path == "/p"
    with pytest.raises(ValueError, match="fields"):
        view.query.get("a")


@pytest.mark.parametrize("request_", ["request", None, object(), {}, {"a": 1}, 7])
def test_what_is_no_request_is_refused_by_name(request_: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"request is .*; it must be a request"):
        bill_to(request_, customer_id="ann")
