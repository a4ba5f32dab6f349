from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from streamgauge.server.api.openapi import document
from streamgauge.server.app import OPERATIONS

Tree = dict[str, Any]


@pytest.fixture(scope="module")
def described() -> Tree:
    made: Tree = json.loads(json.dumps(document(OPERATIONS, version="1.2.3")))
    return made


def references(tree: object) -> Iterator[str]:
    if isinstance(tree, dict):
        if isinstance(tree.get("$ref"), str):
            yield tree["$ref"]
        for part in tree.values():
            yield from references(part)
    if isinstance(tree, list):
        for part in tree:
            yield from references(part)


def test_every_operation_is_described_once(described: Tree) -> None:
    found = {
        (method.upper(), path) for path, entry in described["paths"].items() for method in entry
    }
    assert found == {(operation.method, operation.path) for operation in OPERATIONS}
    ids = [entry["operationId"] for item in described["paths"].values() for entry in item.values()]
    assert len(set(ids)) == len(ids)


def test_every_reference_leads_to_a_schema_and_every_schema_is_used(described: Tree) -> None:
    schemas = described["components"]["schemas"]
    found = set(references(described))
    assert found == {f"#/components/schemas/{name}" for name in schemas}


def test_every_path_parameter_is_described(described: Tree) -> None:
    for path, item in described["paths"].items():
        for entry in item.values():
            named = {part["name"] for part in entry["parameters"] if part["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))


def test_every_entry_has_what_the_specification_demands(described: Tree) -> None:
    assert described["openapi"] == "3.1.0"
    assert described["info"] == {"title": "streamgauge", "version": "1.2.3"}
    for item in described["paths"].values():
        for entry in item.values():
            assert entry["summary"]
            assert entry["tags"]
            assert all(answer["description"] for answer in entry["responses"].values())
            assert "default" in entry["responses"]


def test_a_refusal_is_described_with_code_and_message(described: Tree) -> None:
    schema = described["components"]["schemas"]["ErrorBody"]
    assert schema["required"] == ["code", "message"]
