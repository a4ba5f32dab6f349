from __future__ import annotations

import gzip
import json
import stat
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from streamgauge.core.limits import BODY_BYTES_MAX


def post(client: httpx.Client, *events: dict[str, Any]) -> httpx.Response:
    return client.post("/events/ingest", json={"events": list(events)})


def test_a_batch_is_stored_and_its_repeat_is_a_duplicate(client: Any, event: Any) -> None:
    first = post(client, event("r1"), event("r2"))
    assert (first.status_code, first.headers["content-type"]) == (200, "application/json")
    assert first.json() == {
        "ingested_count": 2,
        "results": [
            {"event_id": "r1", "result": "stored"},
            {"event_id": "r2", "result": "stored"},
        ],
    }
    again = post(client, event("r2", metadata={"bytes": 5}), event("r3")).json()
    assert [each["result"] for each in again["results"]] == ["duplicate", "stored"]
    assert again["ingested_count"] == 2
    assert client.get("/events/r2").json()["metadata"] == {"bytes": 1}


def test_a_known_id_is_a_duplicate_whatever_its_timestamp(client: Any, event: Any) -> None:
    post(client, event("known"))
    answer = post(client, event("known", timestamp="2099-01-01T00:00:00Z"))
    assert answer.json()["results"] == [{"event_id": "known", "result": "duplicate"}]


def test_what_was_accepted_is_listed_at_once_newest_first(client: Any, event: Any) -> None:
    at = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z", "2026-01-01T00:00:01"]
    post(client, *(event(f"l{n}", customer_id="lister", timestamp=t) for n, t in enumerate(at)))
    listed = client.get("/events", params={"customer_id": "lister"}).json()["items"]
    assert [each["event_id"] for each in listed] == ["l1", "l2", "l0"]
    assert listed[1]["timestamp"] == "2026-01-01T00:00:01Z"
    assert listed[1].keys() == {
        "business_id",
        "event_id",
        "customer_id",
        "event_name",
        "timestamp",
        "metadata",
    }
    page = {"customer_id": "lister", "page_size": 2, "page_number": 1}
    assert [e["event_id"] for e in client.get("/events", params=page).json()["items"]] == ["l0"]


def test_numbers_come_back_digit_by_digit(client: Any) -> None:
    text = '{"a":18446744073709551616,"b":0.123456789012,"c":"5","d":true}'
    body = f'{{"events":[{{"event_id":"x","customer_id":"c","event_name":"n","metadata":{text}}}]}}'
    client.post("/events/ingest", content=body).raise_for_status()
    assert text in client.get("/events/x").text


def test_an_id_with_a_slash_is_found(client: Any, event: Any) -> None:
    post(client, event("a/b ?c"))
    assert client.get("/events/a%2Fb%20%3Fc").json()["event_id"] == "a/b ?c"


def test_a_refused_batch_names_every_fault_and_keeps_nothing(client: Any, event: Any) -> None:
    bad = post(client, event("fine"), event("bad", customer_id="", metadata={"x": [1]}))
    assert bad.status_code == 400
    answer = bad.json()
    assert answer["code"] == "INVALID_REQUEST_PARAMETERS"
    assert [(each["index"], each["event_id"], each["field"]) for each in answer["errors"]] == [
        (1, "bad", "customer_id"),
        (1, "bad", "metadata.x"),
    ]
    assert client.get("/events/fine").status_code == 404
    assert post(client, event("fine")).json()["results"][0]["result"] == "stored"


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{", {}, 422, "INVALID_REQUEST_BODY"),
        (b"", {"content-type": "application/json"}, 422, "INVALID_REQUEST_BODY"),
        (b'{"events":[]}', {}, 400, "INVALID_REQUEST_PARAMETERS"),
        (b"x", {"content-encoding": "br"}, 415, "INVALID_REQUEST_BODY"),
        (b"x", {"content-encoding": "gzip"}, 422, "INVALID_REQUEST_BODY"),
        (bytes(BODY_BYTES_MAX + 1), {}, 413, "PAYLOAD_TOO_LARGE"),
        (gzip.compress(bytes(10**8)), {"content-encoding": "gzip"}, 413, "PAYLOAD_TOO_LARGE"),
        (b"{}", {"authorization": "Bearer sg_test_wrong"}, 401, "UNAUTHORIZED"),
    ],
)
def test_a_bad_request_gets_its_status_and_code(
    client: Any, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = client.post("/events/ingest", content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_body_is_read_as_json_whatever_it_is_called(client: Any, event: Any) -> None:
    content = json.dumps({"events": [event("called")]})
    for headers in ({"content-type": "text/plain"}, {}):
        assert client.post("/events/ingest", content=content, headers=headers).status_code == 200


def test_a_timestamp_is_kept_to_the_microsecond(client: Any, event: Any) -> None:
    for digits, kept in (("1234565", "123457"), ("123456499", "123456")):
        post(client, event(digits, timestamp=f"2026-01-01T00:00:00.{digits}Z"))
        assert client.get(f"/events/{digits}").json()["timestamp"] == f"2026-01-01T00:00:00.{kept}Z"


def test_bounds_of_a_list_without_offset_are_utc_and_a_page_has_a_thousand(
    client: Any, event: Any
) -> None:
    at = [f"2026-01-01T00:00:0{second}" for second in range(3)]
    for start in (0, 1000):
        ids = range(start, start + 1000)
        post(client, *(event(f"b{n}", customer_id="bound", timestamp=at[n % 3]) for n in ids))
    asked = {"customer_id": "bound", "page_size": 1000}
    between = client.get("/events", params=asked | {"start": at[1], "end": at[2]}).json()["items"]
    assert {each["timestamp"] for each in between} == {f"{at[1]}Z"}
    assert len(between) == 667
    pages = [client.get("/events", params=asked | {"page_number": n}).json() for n in range(3)]
    assert [len(page["items"]) for page in pages] == [1000, 1000, 0]
    refused = client.get("/events", params=asked | {"page_size": 1001})
    assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_QUERY_PARAMS")


def test_a_gzip_body_is_taken(client: Any, event: Any) -> None:
    content = gzip.compress(json.dumps({"events": [event("zipped")]}).encode())
    answer = client.post("/events/ingest", content=content, headers={"content-encoding": "gzip"})
    assert answer.json()["ingested_count"] == 1


def test_a_meter_filters_the_list_and_a_foreign_name_is_refused(client: Any, event: Any) -> None:
    new = {
        "name": "hd",
        "event_name": "filtered",
        "measurement_unit": "byte",
        "aggregation": {"type": "count"},
        "filter": {
            "conjunction": "and",
            "clauses": [{"key": "q", "operator": "equals", "value": "hd"}],
        },
    }
    meter_id = client.post("/meters", json=new).json()["id"]
    post(
        client,
        event("f1", event_name="filtered", metadata={"q": "hd"}),
        event("f2", event_name="filtered", metadata={"q": "sd"}),
    )
    listed = client.get("/events", params={"meter_id": meter_id}).json()["items"]
    assert [each["event_id"] for each in listed] == ["f1"]
    refused = client.get("/events", params={"meter_id": meter_id, "event_name": "other"})
    assert refused.status_code == 400
    assert client.get("/events", params={"meter_id": "mtr_none"}).status_code == 404
    assert client.get("/events", params={"page_size": 0}).status_code == 400
    assert client.get("/events", params={"start": "noon"}).status_code == 400


def test_a_read_only_key_may_list_and_not_ingest(server: Any, event: Any) -> None:
    with server.operator() as operator:
        new = operator.post("/v1/keys", json={"name": "reader", "writable": False}).json()
    with server.client(new["token"]) as reader:
        assert reader.get("/events").status_code == 200
        assert post(reader, event("never")).status_code == 403


def test_a_strict_key_refuses_old_events_unless_they_are_known(server: Any, event: Any) -> None:
    with server.operator() as operator:
        made = operator.post("/v1/keys", json={"name": "dodo", "strict_timestamps": True}).json()
    assert made["strict_timestamps"]
    ago = datetime.now(UTC) - timedelta(minutes=61)
    old = event("old") | {"timestamp": ago.isoformat()}
    young = event("young") | {"timestamp": (ago + timedelta(minutes=2)).isoformat()}
    with server.client(made["token"]) as strict, server.client() as usual:
        refused = post(strict, young, old)
        assert refused.status_code == 400
        (fault,) = refused.json()["errors"]
        assert (fault["index"], fault["field"]) == (1, "timestamp")
        assert strict.get("/events/young").status_code == 404
        assert post(usual, old).json()["results"][0]["result"] == "stored"
        again = post(strict, young, old).json()["results"]
        assert [each["result"] for each in again] == ["stored", "duplicate"]


def test_the_operators_socket_is_private_and_names_its_mode(server: Any, event: Any) -> None:
    mode = (server.data_dir / "admin.sock").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    with server.operator() as operator:
        assert post(operator, event("by operator")).status_code == 200
        assert operator.get("/events/by%20operator").status_code == 200
        live = {"x-streamgauge-mode": "live_mode"}
        assert operator.get("/events/by%20operator", headers=live).status_code == 404
        odd = {"x-streamgauge-mode": "dream"}
        assert operator.get("/events", headers=odd).status_code == 400


def test_a_tcp_client_cannot_claim_to_be_the_operator(server: Any) -> None:
    answer = httpx.get(f"{server.url}/events", headers={"x-streamgauge-mode": "test_mode"})
    assert answer.status_code == 401


def test_health_readiness_metrics_and_description_need_no_key(server: Any) -> None:
    with httpx.Client(base_url=server.url) as anyone:
        assert anyone.get("/healthz").json() == {"status": "alive"}
        ready = anyone.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert 'streamgauge_events_total{result="stored"}' in anyone.get("/metrics").text
        paths = anyone.get("/openapi.json").json()["paths"]
        assert {"/events/ingest", "/events", "/events/{event_id}"} <= paths.keys()


def test_other_methods_are_named_and_preflight_is_answered(client: Any) -> None:
    assert client.get("/events/ingest").status_code == 405
    assert client.options("/events/ingest").status_code == 204
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        refused = client.post(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert refused.json()["code"] == "METHOD_NOT_ALLOWED"
        assert refused.headers["x-request-id"].startswith("req_")
        assert client.options(path).status_code == 204
