from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import flask
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response

from streamgauge import Ingestion, StreamBytesMiddleware, bill_to
from streamgauge.customers import RequestView, Signer, view_of
from streamgauge.testing import MemorySink

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "who-pays.md"
BLOCK = re.compile(r"<!-- run: (\S+) -->\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAMS: dict[str, str] = dict(BLOCK.findall(GUIDE.read_text("utf-8")))
SECRETS = {"VIEWER_SECRET": "new" * 11, "VIEWER_SECRET_OLD": "old" * 11}


def run(name: str, **names: Any) -> dict[str, Any]:
    """Return what a program of the guide leaves behind."""
    exec(PROGRAMS[name], names)
    return names


class Platform:
    """An application that says nothing of customers, behind the real middleware."""

    def __init__(self, ingestion: Ingestion, sink: MemorySink) -> None:
        self.app = FastAPI()
        self._ingestion = ingestion
        self._sink = sink

    def billed(self, customer: Any, address: str, **headers: str) -> dict[str, int]:
        self.app.add_api_route("/{rest:path}", self._film)
        app = StreamBytesMiddleware(self.app, ingestion=self._ingestion, customer=customer)

        async def ask() -> None:
            transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
                assert (await client.get(address, headers=headers)).content == b"12345"

        asyncio.run(ask())
        assert app.failures == 0
        assert self._ingestion.flush()
        return self._sink.bytes_by_customer()

    async def _film(self) -> Response:
        return Response(b"12345")


@pytest.fixture
def platform(
    streamgauge_ingestion: Ingestion,
    streamgauge_sink: MemorySink,
    monkeypatch: pytest.MonkeyPatch,
) -> Platform:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return Platform(streamgauge_ingestion, streamgauge_sink)


def test_every_program_of_the_guide_is_run_here() -> None:
    assert list(PROGRAMS) == [
        *("endpoint", "path", "flask", "cookie", "django", "jwt", "query", "own"),
    ]


def test_the_guides_endpoint_bills_its_viewer(platform: Platform) -> None:
    names = {"Annotated": Annotated, "Depends": Depends, "Request": Request, "Response": Response}
    run("endpoint", app=platform.app, bill_to=bill_to, viewer=_viewer, FILM=b"12345", **names)
    assert platform.billed(lambda _: "nobody asked", "/films/one?token=ann") == {"ann": 5}


def _viewer(token: str) -> str:
    return token


def test_the_guides_path_bills_the_publisher(platform: Platform) -> None:
    customer = run("path")["customer"]
    assert platform.billed(customer, "/live/ann/a/b.ts") == {"ann": 5}
    assert platform.billed(customer, "/vod/bob.example/film") == {"ann": 5, "bob": 5}


def test_the_guides_cookies_bill_their_viewer(platform: Platform) -> None:
    flask_app = flask.Flask(__name__)
    flask_app.secret_key = SECRETS["VIEWER_SECRET"]
    left = run("flask", flask_app=flask_app)
    cookie = left["serializer"].dumps({"customer_id": "ann"})
    assert platform.billed(left["customer"], "/", cookie=f"session={cookie}") == {"ann": 5}

    left = run("cookie", os=os)
    expected = {"ann": 5, "customer_123": 5}
    assert platform.billed(left["customer"], "/", cookie=f"viewer={left['cookie']}") == expected
    old = Signer([SECRETS["VIEWER_SECRET_OLD"]]).sign("bob", ttl_s=60)
    expected["bob"] = 5
    assert platform.billed(left["customer"], "/", cookie=f"viewer={old}") == expected


def test_the_guides_django_middleware_bills_the_session() -> None:
    payers = []
    billing = SimpleNamespace(bill_to=payers.append)
    request = SimpleNamespace(
        environ={"REQUEST_METHOD": "GET", "streamgauge.billing": billing},
        META={},
        resolver_match=None,
        session={"customer_id": "ann"},
    )
    middleware = run("django", bill_to=bill_to)["bill_viewer"](lambda request: request)
    assert middleware(request) is request
    assert [payer.customer_id for payer in payers] == ["ann"]
    request.session = {}
    middleware(request)
    assert len(payers) == 1


def test_the_guides_token_bills_its_subject(platform: Platform) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    claims = {"sub": "ann", "aud": "video", "iss": "https://id.example", "exp": time.time() + 60}
    token = jwt.encode(claims, private, "EdDSA")
    assert platform.billed(
        run("jwt", PUBLIC_KEY=public)["customer"], "/", cookie=f"token={token}"
    ) == {"ann": 5}


def test_the_guides_signed_address_bills_its_viewer(platform: Platform) -> None:
    left = run("query", os=os)
    assert platform.billed(left["customer"], left["address"]) == {"customer_123": 5}
    behind = {"type": "http", "client": ("10.0.0.1", 9), "headers": [(b"x-customer", b"ann")]}
    assert left["customer"](view_of(behind)) == "ann"


def test_the_guides_own_resolver_bills_the_account(platform: Platform) -> None:
    class Accounts:
        async def find(self, key: str) -> Any:
            return SimpleNamespace(customer_id="ann") if key == "k" else None

    left = run("own", accounts=Accounts(), RequestView=RequestView)
    assert platform.billed(left["customer"], "/", **{"x-api-key": "k"}) == {"ann": 5}
    assert platform.billed(left["customer"], "/", **{"x-api-key": "other"}) == {"ann": 5}
