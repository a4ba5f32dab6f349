from __future__ import annotations

from typing import Any

import pytest

METER = {
    "name": "Bytes",
    "event_name": "stream",
    "measurement_unit": "byte",
    "aggregation": {"type": "sum", "key": "bytes"},
}
LEAF = {"key": "quality", "operator": "equals", "value": "1080p"}


def nested(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = {"conjunction": "and", "clauses": [LEAF]}
    for _ in range(levels - 1):
        node = {"conjunction": "or", "clauses": [node, LEAF]}
    return node


@pytest.mark.parametrize("type", ["sum", "max", "last"])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_every_shape_of_a_meter_is_kept_and_given_back(api: Any, type: str, levels: int) -> None:
    body = METER | {"aggregation": {"type": type, "key": "bytes"}, "filter": nested(levels)}
    made = api.call("POST", "/meters", body | {"description": "d"}, 201)
    assert made["id"].startswith("mtr_")
    assert {name: made[name] for name in body} == body
    assert api.call("GET", f"/meters/{made['id']}") == made


def test_a_new_meter_is_rolled_up(api: Any, parts: Any, meter: dict[str, Any]) -> None:
    assert [rolled.id for rolled in parts.rolled_up] == [meter["id"]]


def test_a_meter_is_made_once_though_its_rollup_has_to_wait(api: Any, parts: Any) -> None:
    parts.engine_is_down = True
    made = api.call("POST", "/meters", METER, 201)
    assert [kept.id for kept in parts.catalog.meters.list()] == [made["id"]]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"event_name": ""}, "event_name"),
        ({"event_name": "a\nb"}, "event_name"),
        ({"measurement_unit": ""}, "measurement_unit"),
        ({"description": "x" * 1001}, "description"),
        ({"aggregation": {"type": "sum"}}, "aggregation.key"),
        ({"aggregation": {"type": "max", "key": ""}}, "aggregation.key"),
        ({"filter": nested(4)}, "filter.clauses[0].clauses[0].clauses[0]"),
        ({"filter": {"conjunction": "and", "clauses": []}}, "filter.clauses"),
        ({"filter": {"conjunction": "and", "clauses": [LEAF] * 11}}, "filter.clauses"),
        ({"filter": {"conjunction": "and", "clauses": [LEAF | {"key": ""}]}}, "filter.clauses[0]"),
        ({"filter": {"conjunction": "and", "clauses": [LEAF | {"value": None}]}}, "filter"),
        ({"filter": {"conjunction": "and", "clauses": [LEAF | {"value": [1]}]}}, "filter"),
        ({"filter": LEAF}, "filter"),
    ],
)
def test_a_bad_meter_names_the_field_and_is_not_made(
    api: Any, parts: Any, change: dict[str, Any], field: str
) -> None:
    refused = api.refused("POST", "/meters", METER | change, status=400)
    assert refused["code"] == "INVALID_REQUEST_PARAMETERS"
    assert refused["message"].startswith(field)
    assert "must" in refused["message"]
    assert parts.catalog.meters.list() == []
    assert parts.rolled_up == []


def test_an_archived_meter_leaves_the_list_and_comes_back(api: Any, meter: dict[str, Any]) -> None:
    other = api.call("POST", "/meters", METER, 201)
    api.call("DELETE", f"/meters/{meter['id']}", status=204)
    api.call("DELETE", f"/meters/{meter['id']}", status=204)
    assert [item["id"] for item in api.call("GET", "/meters")["items"]] == [other["id"]]
    archived = api.call("GET", "/meters?archived=true")["items"]
    assert [item["id"] for item in archived] == [meter["id"]]
    assert api.call("GET", f"/meters/{meter['id']}")["id"] == meter["id"]
    api.call("POST", f"/meters/{meter['id']}/unarchive")
    assert len(api.call("GET", "/meters")["items"]) == 2


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/meters/x"),
        ("DELETE", "/meters/x"),
        ("POST", "/meters/x/unarchive"),
        ("GET", "/customers/x"),
        ("GET", "/products/x"),
        ("DELETE", "/products/x"),
        ("POST", "/products/x/unarchive"),
        ("GET", "/subscriptions/x"),
        ("DELETE", "/v1/keys/x"),
    ],
)
def test_what_is_not_there_is_not_found(api: Any, method: str, path: str) -> None:
    assert api.refused(method, path, status=404)["code"] == "NOT_FOUND"


def test_a_locale_changes_nothing(api: Any, meter: dict[str, Any]) -> None:
    assert api.call("GET", f"/meters/{meter['id']}?locale=de") == meter
    assert api.call("GET", "/meters?locale=de") == {"items": [meter]}


def test_a_meter_changes_its_texts_and_nothing_else(api: Any, meter: dict[str, Any]) -> None:
    path = f"/meters/{meter['id']}"
    changed = api.call("PATCH", path, {"name": "New", "description": "d", "measurement_unit": None})
    assert (changed["name"], changed["description"]) == ("New", "d")
    assert changed["measurement_unit"] == "byte"
    assert api.call("PATCH", path, {"description": None})["description"] is None
    assert api.call("PATCH", path, {})["name"] == "New"
    refused = api.refused("PATCH", path, {"event_name": "other"}, status=400)
    assert refused["message"].startswith("event_name is 'other'")
    api.refused("PATCH", path, {"name": ""}, status=400)


def test_pages_cut_a_list_into_parts_without_a_gap(api: Any) -> None:
    made = [api.call("POST", "/meters", METER | {"name": f"m{n}"}, 201)["id"] for n in range(12)]
    assert [item["id"] for item in api.call("GET", "/meters")["items"]] == made[:10]
    second = api.call("GET", "/meters?page_number=1")["items"]
    assert [item["id"] for item in second] == made[10:]
    assert api.call("GET", "/meters?page_number=2") == {"items": []}
    fives = api.call("GET", "/meters?page_number=1&page_size=5")["items"]
    assert [item["id"] for item in fives] == made[5:10]
