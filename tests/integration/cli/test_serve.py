"""How ``streamgauge serve`` meets other machines: TLS, proxies, origins, limits."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamgauge.cli.root import run
from streamgauge.cli.serve import link_path
from streamgauge.server.catalog import Catalog
from streamgauge.server.layout import ADMIN_SOCKET, CATALOG
from tests.postgresql import Cluster
from tests.wire.certificate import write_certificate

ORIGIN = "https://app.example.com"
Serve = Callable[..., Any]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("tls") / "both.pem")


@pytest.fixture(scope="module")
def exposed(
    tmp_path_factory: pytest.TempPathFactory, server_type: Serve, certificate: Path
) -> Iterator[Any]:
    """A server with TLS, limits and an origin, on every address."""
    path = tmp_path_factory.mktemp("exposed")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STREAMGAUGE_RATE_LIMIT_PER_MINUTE", "5")
        options = ("--host", "0.0.0.0", "--tls-cert", str(certificate), "--cors-origin", ORIGIN)
        running = server_type(path / "data", path / "log", *options)
    yield running
    assert running.stop() == 0


def new_token(server: Any) -> str:
    catalog = Catalog(server.data_dir / CATALOG)
    try:
        return catalog.keys.create(mode="test_mode", name="t").token
    finally:
        catalog.close()


@pytest.fixture
def https(exposed: Any, certificate: Path) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    headers = {"authorization": f"Bearer {new_token(exposed)}"}
    with httpx.Client(base_url=exposed.local_url, verify=context, headers=headers) as client:
        yield client


def test_tls_is_spoken_with_the_certificate_and_plain_http_is_not(
    exposed: Any, https: httpx.Client
) -> None:
    assert exposed.url.startswith("https://0.0.0.0:")
    assert https.get("/meters").json() == {"items": []}
    with pytest.raises(httpx.HTTPError):
        httpx.get(exposed.local_url.replace("https", "http"))
    with pytest.raises(httpx.ConnectError):
        httpx.get(exposed.local_url)
    old = ssl.create_default_context()
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.deprecated_call():
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError):
        httpx.get(exposed.local_url, verify=old)
    assert "unencrypted" not in exposed.log.read_text()


def test_a_key_has_its_requests_of_a_minute_over_http(https: httpx.Client) -> None:
    seen = [https.post("/events/ingest", json={"events": []}) for _ in range(6)]
    assert [each.status_code for each in seen] == [400] * 5 + [429]
    assert [each.headers["X-RateLimit-Remaining"] for each in seen] == list("432100")
    assert 0 < int(seen[-1].headers["Retry-After"]) <= 60


def test_only_scripts_of_chosen_origins_may_call(https: httpx.Client) -> None:
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    allowed = https.options("/events/ingest", headers={"origin": ORIGIN} | asked)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-credentials" not in allowed.headers
    assert (
        https.get("/meters", headers={"origin": ORIGIN}).headers["access-control-allow-origin"]
        == ORIGIN
    )
    other = https.options("/events/ingest", headers={"origin": "https://evil.example"} | asked)
    assert "access-control-allow-origin" not in other.headers


def test_without_an_origin_no_script_may_call(server: Any) -> None:
    for method in ("OPTIONS", "GET"):
        answer = httpx.request(method, f"{server.url}/meters", headers={"origin": ORIGIN})
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        (("--host", "0.0.0.0"), True),
        (("--host", "0.0.0.0", "--trusted-proxy", "127.0.0.1"), False),
    ],
)
def test_keys_that_travel_unencrypted_are_warned_of(
    tmp_path: Path, server_type: Serve, options: tuple[str, ...], warned: bool
) -> None:
    running = server_type(tmp_path / "data", tmp_path / "log", *options)
    try:
        assert ("keys travel unencrypted" in running.log.read_text()) is warned
        path = link_path(running.data_dir / ADMIN_SOCKET)
        proxied = {"x-forwarded-proto": "https"}
        cookie = httpx.get(running.local_url + path, headers=proxied).headers["set-cookie"]
        assert ("secure" in cookie.lower()) is not warned
    finally:
        assert running.stop() == 0


def test_a_certificate_that_cannot_be_used_stops_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no.pem").write_text("nothing")
    at = ("--data-dir", str(tmp_path / "data"), "--port", "0")
    assert run(["serve", *at, "--tls-cert", str(tmp_path / "no.pem")]) != 0
    assert "listen.tls_cert" in capsys.readouterr().err
    assert run(["serve", *at, "--tls-cert", str(tmp_path / "missing.pem")]) != 0
    assert "No such file" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.postgresql
def test_keys_of_a_catalog_in_postgresql_are_made_there_and_nowhere_else(
    tmp_path: Path,
    server_type: Serve,
    postgresql_cluster: Cluster,
    capsys: pytest.CaptureFixture[str],
) -> None:
    catalog = ("--catalog", postgresql_cluster.url(postgresql_cluster.new_schema()))
    where = ("--data-dir", str(tmp_path / "data"))
    running = server_type(tmp_path / "data", tmp_path / "log", *catalog)
    create = ("keys", "create", "--mode", "test_mode", "--name", "t", *where)
    assert run([*create, *catalog]) == 0
    headers = {"authorization": f"Bearer {capsys.readouterr().out.strip()}"}
    assert httpx.get(f"{running.url}/meters", headers=headers).status_code == 200
    assert run(create) != 0
    assert "give it as --catalog" in capsys.readouterr().err
    assert not (tmp_path / "data" / CATALOG).exists()
    assert run(["doctor", *where]) == 0
    assert "in postgresql://" in capsys.readouterr().out
    assert running.stop() == 0
