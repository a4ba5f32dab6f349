"""Every cell of the matrix in the documents, held against a real server."""

from __future__ import annotations

import ast
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from tests.servers.matrix import LAYERS, matrix
from tests.servers.running import FIRST_TIER, HTTP_2, ROWS, SECOND_TIER, Servers

MATRIX = matrix()
CLOSING = {"gunicorn sync", "gunicorn sync TLS", "wsgiref"}


@pytest.mark.parametrize("name", [name for name in MATRIX if name != HTTP_2])
def test_each_layer_is_known_the_way_the_matrix_says(
    servers: Servers, named: Callable[[str], str], name: str
) -> None:
    row, said = ROWS[name], MATRIX[name].how
    server = servers.of(row)
    client = server.connect(row)
    ann, bob = named("ann"), named("bob")
    asked = [(ann, "/stream?size=200000"), (bob, "/stream?size=70001&chunk=8192&framing=chunked")]
    asked += [(ann, "/stream?size=1"), (bob, "/stream?size=90000&chunk=300")]
    if name in CLOSING:
        asked = asked[:1]
    for customer, target in asked:
        client.get(target, customer)
    client.end()
    for customer in {customer for customer, _ in asked}:
        seen = [one for one in client.responses if one.customer_id == customer]
        got = server.measured(customer, len(seen))
        for there, here in zip(seen, got, strict=True):
            assert {layer: here[layer]["how"] for layer in LAYERS} == said
            assert here["payload"]["bytes"] == there.payload_bytes
            if said["http"] != "estimated":
                assert here["http"]["bytes"] == there.http_bytes
            if said["tls"] != "estimated":
                assert here["tls"]["bytes"] == there.stream_bytes
            assert here["wire"]["bytes"] > here["tls"]["bytes"]
            assert here["wire"]["final"]
        server.billed(customer, sum(one.payload_bytes for one in seen))


def test_the_matrix_has_every_server_that_is_tested() -> None:
    assert set(MATRIX) == {*FIRST_TIER, *SECOND_TIER, HTTP_2}


def test_the_matrix_names_the_versions_that_are_tested() -> None:
    pairs = {said.version.rpartition(" ")[::2] for said in MATRIX.values() if said.version}
    assert {(name, metadata.version(name)) for name, _ in pairs} == pairs


def test_the_matrix_names_tests_that_exist_and_have_its_servers() -> None:
    for name, said in MATRIX.items():
        for module in said.tests:
            path = Path(__file__).parent / f"{module}.py"
            tree = ast.parse(path.read_text())
            names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
            assert any(one.startswith("test_") for one in names), f"{name}: {module}"
