from __future__ import annotations

from typing import Any


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
