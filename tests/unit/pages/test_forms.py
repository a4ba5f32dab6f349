from __future__ import annotations

import pytest
from starlette.requests import Request

from streamgauge.server.pages.sessions import Session
from streamgauge.server.pages.web import _is_own

SESSION = Session(csrf="token", mode="test_mode", expires_ns=1)


def post(origin: str | None) -> Request:
    headers = [(b"host", b"billing.example:8443")]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    scope = {"type": "http", "method": "POST", "path": "/app/keys", "scheme": "http"}
    return Request({**scope, "query_string": b"", "headers": headers})


@pytest.mark.parametrize(
    "origin", [None, "http://billing.example:8443", "https://billing.example:8443"]
)
def test_a_form_of_this_host_is_taken_also_behind_a_proxy(origin: str | None) -> None:
    assert _is_own(post(origin), SESSION, {"csrf": "token"})
    assert not _is_own(post(origin), SESSION, {"csrf": "other"})
    assert not _is_own(post(origin), SESSION, {})


@pytest.mark.parametrize(
    "origin",
    ["null", "", "http://billing.example", "https://evil.example", "https://billing.example:1"],
)
def test_a_form_of_another_origin_is_refused(origin: str) -> None:
    assert not _is_own(post(origin), SESSION, {"csrf": "token"})
