"""The operation tables as an OpenAPI 3.1 document, at ``/openapi.json``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from streamgauge.server.api.errors import ErrorBody
from streamgauge.server.api.operation import Operation

_REF: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"{([a-z_]+)}")
_JSON: Final = "application/json"

Tree = dict[str, Any]


def document(operations: Iterable[Operation], *, version: str) -> Tree:
    """Return the OpenAPI document of ``operations``."""
    table = tuple(operations)
    kinds = {
        kind: None
        for operation in table
        for kind in (operation.query, operation.body, operation.response)
        if kind is not None
    }
    schemas, components = msgspec.json.schema_components(
        [*kinds, ErrorBody], schema_hook=_any_value, ref_template=_REF
    )
    schema_of = dict(zip([*kinds, ErrorBody], schemas, strict=True))
    for kind in kinds:
        _say_instants(kind, components[_name(schema_of[kind])])
    paths: dict[str, Tree] = {}
    for operation in table:
        entry = _entry(operation, schema_of, components)
        paths.setdefault(operation.path, {})[operation.method.lower()] = entry
    others = {kind for o in table for kind in (o.body, o.response) if kind is not None}
    queries = {_name(schema_of[o.query]) for o in table if o.query not in {None, *others}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "streamgauge", "version": version},
        "security": [{"API_KEY": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"API_KEY": {"type": "http", "scheme": "bearer"}},
            "schemas": {name: tree for name, tree in components.items() if name not in queries},
        },
    }


def _say_instants(kind: type[msgspec.Struct], tree: Tree) -> None:
    """Say which texts of ``tree``, the schema of ``kind``, are instants; msgspec leaves it out."""
    for field in msgspec.structs.fields(kind):
        found = msgspec.inspect.type_info(field.type)
        kinds = found.types if isinstance(found, msgspec.inspect.UnionType) else (found,)
        if any(isinstance(each, msgspec.inspect.DateTimeType) for each in kinds):
            schema = tree["properties"][field.encode_name]
            for each in schema.get("anyOf", (schema,)):
                if each.get("type") == "string":
                    each["format"] = "date-time"


def _any_value(_kind: type) -> Tree:
    return {"description": "any JSON value"}


def _entry(operation: Operation, schema_of: dict[Any, Tree], components: Tree) -> Tree:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(operation.path)
    ]
    if operation.query is not None:
        takes_empty = getattr(operation.query, "EMPTY_IS_NULL", False)
        schema = components[_name(schema_of[operation.query])]
        parameters += _query_parameters(schema, takes_empty=takes_empty)
    success: Tree = {"description": "success"}
    if operation.response is not None:
        success["content"] = {_JSON: {"schema": schema_of[operation.response]}}
    refused = {"description": "refused", "content": {_JSON: {"schema": schema_of[ErrorBody]}}}
    entry: Tree = {
        "operationId": _operation_id(operation),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": parameters,
        "responses": {str(operation.status): success, "default": refused},
    }
    if operation.body is not None:
        entry["requestBody"] = {
            "required": True,
            "content": {_JSON: {"schema": schema_of[operation.body]}},
        }
    return entry


def _query_parameters(schema: Tree, *, takes_empty: bool) -> list[Tree]:
    required = set(schema.get("required", ()))
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": tree if takes_empty else _not_empty(tree),
        }
        for name, tree in schema["properties"].items()
    ]


def _not_empty(tree: Tree) -> Tree:
    """Say of a parameter's schema what ``decode_query`` asks of every text."""
    if tree.get("type") == "string" and "enum" not in tree:
        return {"minLength": 1} | tree
    if "anyOf" in tree:
        # A query has no null: a parameter is left out.
        kinds = [_not_empty(kind) for kind in tree["anyOf"] if kind != {"type": "null"}]
        return {**tree, "anyOf": kinds}
    return tree


def _operation_id(operation: Operation) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", operation.path.lower()).strip("_")
    return f"{operation.method.lower()}_{words}"


def _name(reference: Tree) -> str:
    name = reference["$ref"].rpartition("/")[2]
    assert isinstance(name, str), "references are texts"
    return name
