"""Requests to structs: bounded bodies, query parameters, and errors that name path and value."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

import msgspec
from starlette.requests import Request

from streamgauge.core.errors import InvalidInputError, TooLargeError, shown
from streamgauge.core.limits import API_BODY_BYTES_MAX
from streamgauge.server.api.errors import InvalidBodyError, InvalidQueryError

_WITH_PATH: Final = re.compile(r"(.*?)(?: - at `(.*)`)?", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.+)`")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.+)`")
_ESCAPED_NUL: Final = b"\\u0000"
_STEP: Final = re.compile(r"\[(\d+)\]|\.?([^.\[\]]+)")


async def read_body(request: Request, bytes_max: int = API_BODY_BYTES_MAX) -> bytes:
    """Return the body.

    Raises:
        TooLargeError: It is over ``bytes_max``; the rest is not read.
        InvalidInputError: It is compressed.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise InvalidInputError("Content-Encoding", encoding, "be absent or identity")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > bytes_max:
            raise TooLargeError(f"the body is over {bytes_max} bytes")
        parts.append(part)
    return b"".join(parts)


def decode_body(data: bytes, kind: type[msgspec.Struct]) -> msgspec.Struct:
    """Return JSON as ``kind``.

    Raises:
        InvalidBodyError: It is no JSON, or not of that shape; names the path and the value.
        InvalidInputError: A text in it holds a NUL, which PostgreSQL cannot keep.
    """
    try:
        decoded = msgspec.json.decode(data, type=kind)
        path = _path_to_nul(msgspec.json.decode(data)) if _ESCAPED_NUL in data else None
    except msgspec.ValidationError as error:
        raise InvalidBodyError(_explain(str(error), _tree(data))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidBodyError(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise InvalidBodyError("the body is nested too deep") from None
    if path is not None:
        raise InvalidInputError(path, "\x00", "be without NUL")
    return decoded


def decode_query(request: Request, kind: type[msgspec.Struct]) -> msgspec.Struct:
    """Return the query parameters as ``kind``; a list field takes a repeated parameter.

    Raises:
        InvalidQueryError: A parameter breaks a rule.
    """
    lists = {
        field.encode_name
        for field in msgspec.structs.fields(kind)
        if isinstance(msgspec.inspect.type_info(field.type), _LISTS)
    }
    empty_is_null = getattr(kind, "EMPTY_IS_NULL", False)
    given: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if text == "" and empty_is_null:
            continue
        if text == "":
            raise InvalidQueryError(name, text, "be left out or not be empty")
        if "\x00" in text:
            raise InvalidQueryError(name, text, "be without NUL")
        if name in lists:
            given.setdefault(name, []).append(text)
        elif name in given:
            raise InvalidQueryError(name, text, "be given once")
        else:
            given[name] = text
    try:
        asked = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        field, value, rule = _parts(str(error), given)
        raise InvalidQueryError(field, value, f"fit: {rule}") from None
    _check_read_as_meant(asked, given)
    return asked


def _check_read_as_meant(asked: msgspec.Struct, given: dict[str, Any]) -> None:
    """Refuse texts that msgspec takes for something that nobody described.

    Raises:
        InvalidQueryError: A number would be an instant, or the text null would be no parameter.
    """
    for name, text in given.items():
        value = getattr(asked, name, text)
        if value is None:
            raise InvalidQueryError(name, text, "be left out, or be a value")
        if isinstance(value, datetime) and not _DATE.match(text):
            raise InvalidQueryError(name, text, "be an instant such as 2026-01-31T00:00:00Z")


_DATE: Final = re.compile(r"\d{4}-")
_LISTS: Final = (
    msgspec.inspect.ListType,
    msgspec.inspect.VarTupleType,
    msgspec.inspect.SetType,
    msgspec.inspect.FrozenSetType,
)


def _tree(data: bytes) -> object:
    """Return the body as plain values for a message; what follows the first fault may be broken."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _path_to_nul(tree: object, path: str = "") -> str | None:
    """Return where a text holds a NUL, or None."""
    if isinstance(tree, str):
        return path if "\x00" in tree else None
    if isinstance(tree, dict):
        if any("\x00" in name for name in tree):
            return f"a key of {path or 'the body'}"
        steps = [(f"{path}.{name}".lstrip("."), part) for name, part in tree.items()]
    elif isinstance(tree, list):
        steps = [(f"{path}[{index}]", part) for index, part in enumerate(tree)]
    else:
        return None
    found = (_path_to_nul(part, step) for step, part in steps)
    return next((place for place in found if place is not None), None)


def _explain(message: str, tree: object) -> str:
    field, value, rule = _parts(message, tree)
    if value is _NOWHERE:
        return f"{field}: {rule}"
    return f"{field} is {shown(value)}: {rule}"


_NOWHERE: Final = object()


def _parts(message: str, tree: object) -> tuple[str, object, str]:
    """Split a message of msgspec into (path, value there, rule)."""
    match = _WITH_PATH.fullmatch(message)
    assert match is not None, "the pattern takes any text"
    rule, path = match[1], (match[2] or "$").removeprefix("$").lstrip(".")
    if missing := _MISSING.fullmatch(rule):
        return (f"{path}.{missing[1]}" if path else missing[1]), _NOWHERE, "it is required"
    if unknown := _UNKNOWN.fullmatch(rule):
        return (f"{path}.{unknown[1]}" if path else unknown[1]), _NOWHERE, "it is not known"
    return path or "the body", _at(tree, path), rule


def _at(tree: object, path: str) -> object:
    for index, name in _STEP.findall(path):
        if index and isinstance(tree, list) and int(index) < len(tree):
            tree = tree[int(index)]
        elif name and isinstance(tree, dict) and name in tree:
            tree = tree[name]
        else:
            return _NOWHERE
    return tree
