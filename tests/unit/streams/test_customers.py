from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import flask
import httpx
import pytest
import uvicorn
import uvicorn.middleware.proxy_headers
from django.core import signing
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamgauge import ConfigurationError, InvalidInputError
from streamgauge.core.errors import UnauthorizedError
from streamgauge.customers import (
    RequestView,
    Signer,
    first_of,
    from_cookie,
    from_header,
    from_path,
    from_query,
    from_session,
    view_of,
)
from streamgauge.testing import ManualClock
from tests.unit.streams.asking import SECRET, environ, named, view

OTHER_SECRET = "fedcba9876543210fedcba9876543210"


@pytest.mark.parametrize(
    ("pattern", "path", "customer_id"),
    [
        ("/live/{customer_id}/{rest:path}", "/live/ann/a/b.m3u8", "ann"),
        ("/live/{customer_id}/{rest:path}", "/live/ann", None),
        ("/live/{customer_id}/{rest:path}", "/LIVE/ann/a", None),
        ("/{customer_id}.example/{title}.mp4", "/ann.example/film.mp4", "ann"),
        ("/{customer_id}.example/{title}.mp4", "/annXexample/film.mp4", None),
        ("/c/{customer_id}", "/c/ann/more", None),
        ("/c/{customer_id}", "/c/ann\n", "ann\n"),
        ("/c/{customer_id}", "/c/", None),
    ],
)
def test_a_path_names_the_customer_whose_place_it_is(
    pattern: str, path: str, customer_id: str | None
) -> None:
    assert from_path("/never/{customer_id}/x", pattern)(view(path)) == customer_id


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [
        ("/live/{name}", "have {customer_id}"),
        ("live/{customer_id}", "be a path"),
        ("/{customer_id}/{customer_id}", "each name once"),
        ("/{customer_id}-{x}", "one placeholder in a segment"),
        ("/{customer_id}/{a:path}/{b:path}", "at most one {name:path}"),
        ("/{customer_id}/{open", "be a path"),
        ("/{customer_id:int}", "be a path"),
    ],
)
def test_a_path_pattern_that_cannot_work_is_refused_with_its_rule(pattern: str, rule: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(rule)):
        from_path(pattern)
    with pytest.raises(InvalidInputError, match="at least one"):
        from_path()


def test_a_hostile_path_is_matched_in_linear_time() -> None:
    resolver = from_path("/a/{customer_id}/{rest:path}/a/b-{x}.ts")
    before_s = time.process_time()
    assert resolver(view("/a/" * 20_000 + "b-")) is None
    assert time.process_time() - before_s < 2


def test_a_signed_customer_is_believed_until_it_expires_and_through_a_rotation() -> None:
    clock = ManualClock()
    old = Signer([SECRET], clock=clock)
    text = old.sign("ann", ttl_s=60)
    rotated = Signer([OTHER_SECRET, SECRET], clock=clock)
    assert rotated.customer_of(text) == "ann"
    assert Signer([OTHER_SECRET], clock=clock).customer_of(rotated.sign("bob", ttl_s=1)) == "bob"
    clock.advance(59)
    assert rotated.customer_of(text) == "ann"
    clock.advance(1)
    with pytest.raises(UnauthorizedError, match="expired"):
        rotated.customer_of(text)
    with pytest.raises(UnauthorizedError, match="signature"):
        Signer([OTHER_SECRET], clock=clock).customer_of(text)
    with pytest.raises(UnauthorizedError, match="signature"):
        Signer([SECRET], purpose="something else", clock=clock).customer_of(text)


@given(st.text(), st.integers(1, 10**6))
@example("ä.b/ü", 1)
def test_any_possible_customer_can_be_signed_and_no_other(customer_id: str, ttl_s: int) -> None:
    signer = Signer([SECRET.encode()])
    try:
        text = signer.sign(customer_id, ttl_s=ttl_s)
    except InvalidInputError as error:
        assert error.field == "customer_id"  # noqa: PT017 - most texts are possible customers
        return
    assert re.fullmatch(r"[\w.-]+", text, re.ASCII)
    assert signer.customer_of(text) == customer_id


@given(st.text() | st.from_regex(r"[\w-]*\.\d*\.[\w-]*"), st.data())
def test_no_other_text_is_believed(text: str, data: st.DataObject) -> None:
    signer = Signer([SECRET])
    own = signer.sign("ann", ttl_s=60)
    place = data.draw(st.integers(0, len(own) - 1))
    changed = own[:place] + data.draw(st.characters()) + own[place + 1 :]
    for each in (text, changed, own[:place], own + "A", "." + own):
        if each != own:
            with pytest.raises(UnauthorizedError):
                signer.customer_of(each)


@pytest.mark.parametrize("secrets", [[], SECRET, [SECRET, "short"], [b""]])
def test_a_signer_refuses_secrets_that_can_be_guessed_and_does_not_show_them(secrets: Any) -> None:
    with pytest.raises(ConfigurationError, match="secret") as caught:
        Signer(secrets)
    assert "short" not in str(caught.value)
    for ttl_s in (0, -1, 1.5, True, 10**9):
        with pytest.raises(InvalidInputError, match="ttl_s"):
            Signer([SECRET]).sign("ann", ttl_s=ttl_s)  # type: ignore[arg-type]


def test_a_signed_cookie_names_its_customer_and_a_changed_one_fails() -> None:
    signer = Signer([SECRET])
    resolver = from_cookie("viewer", signer=signer)
    text = signer.sign("ann", ttl_s=60)
    assert resolver(view(headers={"cookie": f"a=b; viewer={text}"})) == "ann"
    assert resolver(view(headers={"cookie": "a=b"})) is None
    for cookie in (f"viewer={text}A", "viewer=ann", f"viewer={text}; viewer={text}"):
        with pytest.raises(UnauthorizedError):
            resolver(view(headers={"cookie": cookie}))
    for options in ({}, {"signer": signer, "verify": str}):
        with pytest.raises(ConfigurationError, match="viewers write cookies"):
            from_cookie("viewer", **options)  # type: ignore[arg-type]


def test_cookies_that_flask_and_django_signed_are_read_with_their_own_functions() -> None:
    app = flask.Flask(__name__)
    app.secret_key = SECRET
    serializer = flask.sessions.SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    resolver = from_cookie("session", verify=serializer.loads)
    cookie = serializer.dumps({"customer_id": "ann"})
    assert resolver(view(headers={"cookie": f"session={cookie}"})) == "ann"
    assert resolver(view(headers={"cookie": f"session={serializer.dumps({})}"})) is None
    with pytest.raises(InvalidInputError, match="customer_id is 7"):
        resolver(view(headers={"cookie": f"session={serializer.dumps({'customer_id': 7})}"}))
    with pytest.raises(Exception, match="does not match"):
        resolver(view(headers={"cookie": f"session={cookie}A"}))

    signer = signing.Signer(key=SECRET, salt="viewer", fallback_keys=[])
    resolver = from_cookie("viewer", verify=signer.unsign)
    assert resolver(view(headers={"cookie": f"viewer={signer.sign('ann')}"})) == "ann"


def test_a_session_of_starlette_names_the_customer(serve: Any) -> None:
    async def endpoint(request: Request) -> Response:
        request.session["customer_id"] = request.query_params["as"]
        return Response(b"12345")

    inside = Middleware(SessionMiddleware, secret_key=SECRET)
    app = Starlette(routes=[Route("/", endpoint)], middleware=[inside])
    billed = serve(app, customer=from_session())
    httpx.get(f"{billed.address}/?as=ann", trust_env=False)
    assert billed.by_customer() == {"ann": 5}
    assert from_session("other")(view(session={"customer_id": "ann"})) is None
    assert from_session()(view()) is None


HEADER = {"x-customer": "ann"}
NETWORKS = ["10.0.0.0/8", "192.0.2.7", "fd00::/8"]


@pytest.mark.parametrize("peer", ["10.1.2.3", "192.0.2.7", "fd12::1", "::ffff:10.1.2.3"])
def test_a_header_from_a_trusted_proxy_is_believed(peer: str) -> None:
    resolver = from_header("X-Customer", trusted_proxies=NETWORKS)
    forwarded = {**HEADER, "x-forwarded-for": "203.0.113.9"}
    assert resolver(view(headers=forwarded, client=(peer, 4_711))) == "ann"
    assert resolver(environ(HTTP_X_CUSTOMER="ann", REMOTE_ADDR=peer)) == "ann"
    assert resolver(view(client=("198.51.100.1", 4_711))) is None
    query = from_query("customer", trusted_proxies=NETWORKS)
    assert query(view("/?customer=ann", client=(peer, 4_711))) == "ann"


@pytest.mark.parametrize("peer", ["198.51.100.1", "192.0.2.8", "fe80::1", "::ffff:192.0.2.8", ""])
def test_a_header_from_anywhere_else_is_refused(peer: str) -> None:
    resolver = from_header("X-Customer", trusted_proxies=NETWORKS)
    for request in (
        view(headers=HEADER, client=(peer, 4_711)),
        view(headers=HEADER),
        environ(HTTP_X_CUSTOMER="ann", REMOTE_ADDR=peer),
        environ(HTTP_X_CUSTOMER="ann"),
    ):
        with pytest.raises(UnauthorizedError, match="no trusted proxy"):
            resolver(request)
    with pytest.raises(UnauthorizedError, match="no trusted proxy"):
        from_query("c", trusted_proxies=NETWORKS)(view("/?c=ann", client=(peer, 4_711)))


def test_a_header_that_occurs_twice_is_refused() -> None:
    twice = [(b"x-customer", b"ann"), (b"x-customer", b"bob")]
    resolver = from_header("X-Customer", trusted_proxies=NETWORKS)
    for request in (
        view_of({"type": "http", "headers": twice, "client": ("10.0.0.1", 1)}),
        environ(HTTP_X_CUSTOMER="ann, bob", REMOTE_ADDR="10.0.0.1"),
    ):
        with pytest.raises(UnauthorizedError):
            resolver(request)
    with pytest.raises(UnauthorizedError):
        from_query("c", trusted_proxies=NETWORKS)(view("/?c=a&c=b", client=("10.0.0.1", 1)))


@pytest.mark.parametrize("trusted", ["127.0.0.1", "*"])
@pytest.mark.parametrize("claimed", ["10.0.0.1", "10.0.0.1:4711", "::ffff:10.0.0.1"])
def test_a_viewer_cannot_pose_as_the_proxy_where_uvicorn_believes_forwarded_for(
    trusted: str, claimed: str
) -> None:
    asked: list[RequestView] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        asked.append(view_of(scope))

    headers = [(b"x-customer", b"ann"), (b"x-forwarded-for", claimed.encode())]
    scope: Any = {"type": "http", "headers": headers, "client": ("127.0.0.1", 4_711)}
    rewriting = uvicorn.middleware.proxy_headers.ProxyHeadersMiddleware(app, trusted)
    asyncio.run(rewriting(scope, None, None))  # type: ignore[arg-type]
    assert asked[0].peer != "127.0.0.1"
    with pytest.raises(UnauthorizedError, match=r"proxy-headers|no trusted proxy"):
        from_header("X-Customer", trusted_proxies=NETWORKS)(asked[0])


def test_a_unix_socket_is_trusted_by_its_word_only(tmp_path: Path) -> None:
    asked: list[RequestView] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        asked.append(view_of(scope))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    path = str(tmp_path / "app.sock")

    async def scenario() -> None:
        config = uvicorn.Config(app, uds=path, log_level="critical", lifespan="off")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        transport = httpx.AsyncHTTPTransport(uds=path, retries=5)
        async with httpx.AsyncClient(transport=transport) as client:
            await client.get("http://host/", headers=HEADER)
        server.should_exit = True
        await serving

    asyncio.run(scenario())
    assert asked[0].peer == "unix"
    assert from_header("X-Customer", trusted_proxies=["unix"])(asked[0]) == "ann"
    for request, networks in ((asked[0], NETWORKS), (view(headers=HEADER), ["unix"])):
        with pytest.raises(UnauthorizedError):
            from_header("X-Customer", trusted_proxies=networks)(request)


def test_a_header_or_query_field_is_never_believed_naked() -> None:
    for make in (from_header, from_query):
        with pytest.raises(ConfigurationError, match="can be written by anybody"):
            make("x-customer")
        for networks in ([], ["0.0.0.0/0"], ["::/0"]):
            with pytest.raises(ConfigurationError, match="trusted_proxies must"):
                make("x-customer", trusted_proxies=networks)
        for networks in (["proxy.example"], ["10.0.0.1/8"], "10.0.0.0/8", [None]):
            with pytest.raises(InvalidInputError, match="trusted_proxies"):
                make("x-customer", trusted_proxies=networks)  # type: ignore[arg-type]


def test_a_signed_query_field_is_believed_from_everywhere_and_both_proofs_can_be_asked() -> None:
    signer = Signer([SECRET])
    text = signer.sign("ann", ttl_s=60)
    request = view(f"/?viewer={text}", client=("203.0.113.9", 1))
    assert from_query("viewer", signer=signer)(request) == "ann"
    assert from_header("v", signer=signer)(view(headers={"v": text})) == "ann"
    with pytest.raises(UnauthorizedError, match="signature"):
        from_query("viewer", signer=signer)(view("/?viewer=ann"))
    with pytest.raises(UnauthorizedError, match="no trusted proxy"):
        from_query("viewer", signer=signer, trusted_proxies=NETWORKS)(request)


async def _later(request: RequestView) -> str | None:
    return request.query.get("later")


def _fails(_request: RequestView) -> str | None:
    raise UnauthorizedError("the first")


def test_the_first_of_several_resolvers_that_names_a_customer_counts() -> None:
    signed = from_query("viewer", signer=Signer([SECRET]))
    by_path = from_path("/c/{customer_id}")
    resolver = first_of(_fails, _later, signed, _later, by_path)
    assert named(resolver, view("/c/ann?later=bob")) == "bob"
    assert named(resolver, view("/c/ann")) == "ann"
    assert named(resolver, view("/c/ann?viewer=forged")) == "ann"
    assert first_of(signed, by_path)(view("/c/ann")) == "ann"
    assert first_of(signed, by_path)(view("/")) is None
    for failing in (first_of(_fails, by_path), first_of(_later, _fails, _later, signed)):
        with pytest.raises(UnauthorizedError, match="the first"):
            named(failing, view("/?viewer=forged"))
    with pytest.raises(ConfigurationError):
        first_of()
