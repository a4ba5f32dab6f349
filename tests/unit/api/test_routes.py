from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.types import Message

from streamgauge.core.limits import API_BODY_BYTES_MAX
from streamgauge.server.api.auth import OPERATOR_STATE
from streamgauge.server.api.unsupported import unsupported_paths

METER = {
    "name": "Bytes",
    "event_name": "stream",
    "measurement_unit": "byte",
    "aggregation": {"type": "sum", "key": "bytes"},
}


@pytest.fixture
def catalog_url() -> None:
    """Keep the catalog in a file: no route asks which database has it."""


def test_a_request_without_a_key_is_refused(nobody: Any) -> None:
    refused = nobody.refused("GET", "/meters", status=401)
    assert refused["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize(
    "header", ["Basic abc", "Bearer", "Bearer ", "Bearer sg_test_no", "sg_test"]
)
def test_a_wrong_key_is_refused(nobody: Any, header: str) -> None:
    response = nobody.send("GET", "/meters", headers={"authorization": header})
    assert response.status_code == 401
    assert response.json()["code"] == "UNAUTHORIZED"
    assert response.headers["www-authenticate"] == "Bearer"


def test_a_read_only_key_reads_and_changes_nothing(reader: Any) -> None:
    assert reader.call("GET", "/meters") == {"items": []}
    assert reader.refused("POST", "/meters", METER, status=403)["code"] == "FORBIDDEN"
    assert reader.refused("GET", "/v1/keys", status=403)["code"] == "FORBIDDEN"
    assert reader.call("GET", "/meters") == {"items": []}


def test_a_revoked_key_is_refused_with_the_next_request(api: Any, parts: Any) -> None:
    assert api.call("GET", "/meters") == {"items": []}
    (key,) = parts.catalog.keys.list()
    parts.catalog.keys.revoke(key.id)
    api.refused("GET", "/meters", status=401)


def test_modes_do_not_see_each_other(api: Any, live: Any) -> None:
    meter = api.call("POST", "/meters", METER, 201)
    live.refused("GET", f"/meters/{meter['id']}", status=404)
    assert live.call("GET", "/meters") == {"items": []}


def test_the_operator_needs_no_key_and_names_a_mode(app: Starlette, api: Any) -> None:
    meter = api.call("POST", "/meters", METER, 201)
    for mode, status in (("test_mode", 200), ("live_mode", 404), ("prod", 400)):
        sent = asyncio.run(_as_operator(app, f"/meters/{meter['id']}", mode))
        assert sent[0]["status"] == status


async def _as_operator(app: Starlette, path: str, mode: str) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"x-streamgauge-mode", mode.encode())],
        "state": {OPERATOR_STATE: True},
    }
    await app(scope, receive, send)
    return sent


def test_a_header_alone_makes_no_operator(nobody: Any) -> None:
    response = nobody.send("GET", "/meters", headers={"x-streamgauge-mode": "live_mode"})
    assert response.status_code == 401


@pytest.mark.parametrize("id", ["a/b", "a b?c", "..", "é", "%41", "a%2Fb", "x" * 255])
def test_an_id_may_hold_any_character(api: Any, id: str) -> None:
    api.call("POST", "/customers", {"email": "a@b.c", "name": "A", "customer_id": id})
    encoded = "".join(f"%{byte:02X}" for byte in id.encode())
    assert api.call("GET", f"/customers/{encoded}")["customer_id"] == id


@pytest.mark.parametrize("encoded", ["%FF", "%00", "a%C3"])
def test_an_id_that_is_no_text_is_refused(api: Any, encoded: str) -> None:
    api.refused("GET", f"/customers/{encoded}", status=400)


def test_an_empty_body_with_a_json_type_is_no_error_where_no_body_is_read(api: Any) -> None:
    id = api.call("POST", "/meters", METER, 201)["id"]
    json = {"content-type": "application/json"}
    archived = api.send("DELETE", f"/meters/{id}", headers=json)
    assert (archived.status_code, archived.content) == (204, b"")
    back = api.send("POST", f"/meters/{id}/unarchive", content=b"", headers=json)
    assert (back.status_code, back.content) == (200, b"")
    assert "content-type" not in back.headers


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (b"[]", "the body is []: Expected `object`, got `array`"),
        (b"{}", "name: it is required"),
        (b'{"name": 5}', "name is 5: Expected `str`, got `int`"),
        (b'{"name":"a","event_name":"b","measurement_unit":"c"}', "aggregation: it is required"),
        (
            b'{"name":"a","event_name":"b","measurement_unit":"c","aggregation":{"type":"median"}}',
            "aggregation.type is 'median': Invalid enum value",
        ),
        (b'{"name": 5, "x": [}', "name: Expected `str`, got `int`"),
    ],
)
def test_a_body_of_the_wrong_shape_names_path_and_value(api: Any, body: bytes, says: str) -> None:
    response = api.send("POST", "/meters", content=body)
    assert response.status_code == 422
    assert response.json()["code"] == "INVALID_REQUEST_BODY"
    assert says in response.json()["message"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "a\x00"}, "name"),
        ({"aggregation": {"type": "sum", "key": "\x00"}}, "aggregation.key"),
        (
            {
                "filter": {
                    "conjunction": "and",
                    "clauses": [{"key": "quality", "operator": "equals", "value": "\x00"}],
                }
            },
            "filter.clauses[0].value",
        ),
    ],
)
def test_a_text_with_a_nul_is_refused_and_its_place_is_named(
    api: Any, change: dict[str, Any], field: str
) -> None:
    refused = api.refused("POST", "/meters", METER | change, status=400)
    assert refused["message"].startswith(f"{field} is ")


def test_a_body_nested_without_end_is_refused(api: Any) -> None:
    deep = b'{"filter":' * 5_000
    assert api.send("POST", "/meters", content=deep).status_code == 422
    assert api.send("POST", "/meters", content=b'{"extra":' + b"[" * 100_000).status_code == 422


def test_a_body_over_its_bound_is_refused(api: Any) -> None:
    response = api.send("POST", "/meters", content=b" " * (API_BODY_BYTES_MAX + 1))
    assert response.status_code == 413
    assert response.json()["code"] == "PAYLOAD_TOO_LARGE"


def test_a_compressed_body_is_refused(api: Any) -> None:
    response = api.send("POST", "/meters", content=b"x", headers={"content-encoding": "gzip"})
    assert response.status_code == 400


@pytest.mark.parametrize("text", ["0.5", "1753000000", "null", "2026", "yesterday"])
def test_what_is_no_date_is_no_instant_of_a_query(api: Any, text: str) -> None:
    refused = api.refused("GET", f"/customers?created_at_gte={text}", status=400)
    assert refused["message"].startswith(f"created_at_gte is '{text}'")


def test_a_refused_method_comes_with_those_that_are_there(api: Any) -> None:
    response = api.send("PUT", "/meters")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("page_size=0", "page_size"),
        ("page_size=101", "page_size"),
        ("page_size=ten", "page_size"),
        ("page_number=-1", "page_number"),
        ("page_number=99999999999999999999", "page_number"),
        ("archived=maybe", "archived"),
        ("archived=", "archived"),
        ("page_size=null", "page_size"),
        ("archived=true&archived=false", "archived"),
    ],
)
def test_a_bad_query_names_the_parameter(api: Any, query: str, names: str) -> None:
    refused = api.refused("GET", f"/meters?{query}", status=400)
    assert refused["code"] == "INVALID_QUERY_PARAMS"
    assert refused["message"].startswith(f"{names} is ")


def test_an_unknown_query_parameter_is_left_alone(api: Any) -> None:
    assert api.call("GET", "/meters?newer_sdk=1") == {"items": []}


def test_an_unknown_path_is_not_found_in_json(api: Any) -> None:
    assert api.refused("GET", "/nowhere", status=404)["code"] == "NOT_FOUND"


def test_an_unknown_method_is_refused_and_named(api: Any) -> None:
    refused = api.refused("PUT", "/meters", status=405)
    assert refused["message"] == "PUT is not at this path; GET, HEAD, OPTIONS, POST are"


def test_options_and_head_are_answered(api: Any) -> None:
    options = api.send("OPTIONS", "/meters")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert api.send("HEAD", "/meters").status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_here_yet_answers_501_with_its_name(api: Any, method: str) -> None:
    for template in unsupported_paths():
        path = re.sub(r"{\w+(:path)?}", "x", template)
        response = api.send(method, path)
        assert response.status_code == 501, path
        assert response.json()["code"] == "NOT_IMPLEMENTED"
        assert f"{method} {path} of" in response.json()["message"]
        assert response.headers["x-should-retry"] == "false"
        assert api.send("OPTIONS", path).status_code == 204, path


def test_a_bug_is_logged_and_not_shown(
    api: Any, parts: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: object, **_options: object) -> None:
        raise KeyError("/secret/path")

    monkeypatch.setattr(parts.catalog.meters, "list", broken)
    refused = api.refused("GET", "/meters", status=500)
    assert refused["code"] == "INTERNAL_SERVER_ERROR"
    assert "secret" not in refused["message"]
    assert "/secret/path" in caplog.text


def test_every_answer_names_its_request(api: Any) -> None:
    ids = {
        api.send("GET", path).headers["x-request-id"]
        for path in ("/meters", "/meters/x", "/nowhere")
    }
    assert len(ids) == 3
