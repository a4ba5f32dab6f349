"""``/v1/keys``: API keys of the caller's mode; only an admin's key, or the operator."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from streamgauge.core.errors import ForbiddenError, InvalidInputError
from streamgauge.core.keys import KeyScope
from streamgauge.server.api.operation import Call, Operation
from streamgauge.server.catalog.keys import ApiKey, NewKey


class KeyBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is made from; its mode is the caller's.

    Attributes:
        name: For people.
        scope: ``read``, ``write`` or ``admin``; each includes those before it.
        writable: The earlier form: false is the scope ``read``.
        strict_timestamps: Refuse events that are more than an hour old, as Dodo does.
        mode: The caller's, or left out.
    """

    name: str
    scope: KeyScope | None = None
    writable: bool | None = None
    strict_timestamps: bool = False
    mode: str | None = None


class KeyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its token."""

    id: str
    mode: str
    name: str
    scope: KeyScope
    writable: bool
    strict_timestamps: bool
    hint: str
    created_at: datetime
    revoked_at: datetime | None


class NewKeyAnswer(KeyAnswer, frozen=True, kw_only=True):
    """A key that was just made; ``token`` is shown this once."""

    token: str


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """Every key of a mode, revoked ones too, oldest first."""

    items: list[KeyAnswer]


async def create(call: Call) -> NewKeyAnswer:
    """Make a key of the caller's mode."""
    body: KeyBody = call.body
    if body.mode is not None and body.mode != call.caller.mode:
        raise ForbiddenError(f"a caller of {call.caller.mode} makes keys of {call.caller.mode}")

    scope = _scope(body)

    def make() -> NewKey:
        return call.parts.catalog.keys.create(
            mode=call.caller.mode,
            name=body.name,
            scope=scope,
            strict_timestamps=body.strict_timestamps,
        )

    made = await call.run(make)
    return NewKeyAnswer(token=made.token, **_fields(made.key))


async def list_keys(call: Call) -> KeyList:
    """Return the keys of the caller's mode."""
    found = await call.run(lambda: call.parts.catalog.keys.list(mode=call.caller.mode))
    return KeyList(items=[_answer(key) for key in found])


async def revoke(call: Call) -> KeyAnswer:
    """Make a key useless from the next request on."""

    def change() -> ApiKey:
        return call.parts.catalog.keys.revoke(call.path["id"], mode=call.caller.mode)

    return _answer(await call.run(change))


def _scope(body: KeyBody) -> KeyScope:
    scope = body.scope or ("read" if body.writable is False else "admin")
    if body.writable is not None and body.writable != (scope != "read"):
        rule = f"be left out beside scope {scope}, or say the same"
        raise InvalidInputError("writable", body.writable, rule)
    return scope


def _answer(key: ApiKey) -> KeyAnswer:
    return KeyAnswer(**_fields(key))


def _fields(key: ApiKey) -> dict[str, Any]:
    return msgspec.structs.asdict(key) | {"writable": key.scope != "read"}


OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/keys",
        summary="Make an API key",
        tag="keys",
        handler=create,
        body=KeyBody,
        response=NewKeyAnswer,
        status=201,
        needs="admin",
    ),
    Operation(
        method="GET",
        path="/v1/keys",
        summary="List API keys",
        tag="keys",
        handler=list_keys,
        response=KeyList,
        needs="admin",
    ),
    Operation(
        method="DELETE",
        path="/v1/keys/{id}",
        summary="Revoke an API key",
        tag="keys",
        handler=revoke,
        response=KeyAnswer,
        needs="admin",
    ),
)
