from __future__ import annotations

from typing import Any

import pytest


def test_keys_are_made_listed_and_revoked_in_the_callers_mode(api: Any, live: Any) -> None:
    made = api.call("POST", "/v1/keys", {"name": "ci", "writable": False}, 201)
    assert made["token"].startswith("sg_test_")
    listed = api.call("GET", "/v1/keys")["items"]
    assert [key["name"] for key in listed] == ["test", "ci"]
    assert all("token" not in key for key in listed)
    live.refused("DELETE", f"/v1/keys/{made['id']}", status=404)
    assert api.call("DELETE", f"/v1/keys/{made['id']}")["revoked_at"] is not None
    refused = api.refused("POST", "/v1/keys", {"name": "x", "mode": "live_mode"}, status=403)
    assert refused["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    ("body", "scope"),
    [
        ({}, "admin"),
        ({"scope": "read"}, "read"),
        ({"scope": "write"}, "write"),
        ({"scope": "write", "writable": True}, "write"),
        ({"writable": True}, "admin"),
        ({"writable": False}, "read"),
    ],
)
def test_a_key_has_one_scope(api: Any, body: dict[str, Any], scope: str) -> None:
    made = api.call("POST", "/v1/keys", {"name": "ci"} | body, 201)
    assert (made["scope"], made["writable"]) == (scope, scope != "read")


def test_a_scope_that_contradicts_itself_makes_no_key(api: Any) -> None:
    body = {"name": "ci", "scope": "read", "writable": True}
    assert "writable" in api.refused("POST", "/v1/keys", body, status=400)["message"]
    assert (
        "scope" in api.refused("POST", "/v1/keys", body | {"scope": "all"}, status=422)["message"]
    )
    assert [key["name"] for key in api.call("GET", "/v1/keys")["items"]] == ["test"]


def test_a_key_that_writes_cannot_make_list_or_revoke_keys(api: Any, writer: Any) -> None:
    (_, other) = api.call("GET", "/v1/keys")["items"]
    meter = {
        "name": "m",
        "event_name": "e",
        "measurement_unit": "u",
        "aggregation": {"type": "count"},
    }
    writer.call("POST", "/meters", meter, 201)
    for method, path, body in (
        ("POST", "/v1/keys", {"name": "more"}),
        ("GET", "/v1/keys", None),
        ("DELETE", f"/v1/keys/{other['id']}", None),
    ):
        refused = writer.refused(method, path, body, status=403)
        assert refused["code"] == "FORBIDDEN"
        assert "this needs admin" in refused["message"]
    assert [key["revoked_at"] for key in api.call("GET", "/v1/keys")["items"]] == [None, None]
