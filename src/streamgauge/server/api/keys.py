"""``/v1/keys``: API keys of the caller's mode; only a key that may write, or the operator."""

from __future__ import annotations

from datetime import datetime

import msgspec

from streamgauge.core.errors import ForbiddenError
from streamgauge.server.api.operation import Call, Operation
from streamgauge.server.catalog.keys import ApiKey, NewKey


class KeyBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is made from; its mode is the caller's.

    Attributes:
        name: For people.
        writable: May change things; every key may read.
        strict_timestamps: Refuse events that are more than an hour old, as Dodo does.
        mode: The caller's, or left out.
    """

    name: str
    writable: bool = True
    strict_timestamps: bool = False
    mode: str | None = None


class KeyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its token."""

    id: str
    mode: str
    name: str
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

    def make() -> NewKey:
        return call.parts.catalog.keys.create(
            mode=call.caller.mode,
            name=body.name,
            writable=body.writable,
            strict_timestamps=body.strict_timestamps,
        )

    made = await call.run(make)
    return NewKeyAnswer(token=made.token, **msgspec.structs.asdict(made.key))


async def list_keys(call: Call) -> KeyList:
    """Return the keys of the caller's mode."""
    found = await call.run(lambda: call.parts.catalog.keys.list(mode=call.caller.mode))
    return KeyList(items=[_answer(key) for key in found])


async def revoke(call: Call) -> KeyAnswer:
    """Make a key useless from the next request on."""

    def change() -> ApiKey:
        return call.parts.catalog.keys.revoke(call.path["id"], mode=call.caller.mode)

    return _answer(await call.run(change))


def _answer(key: ApiKey) -> KeyAnswer:
    return KeyAnswer(**msgspec.structs.asdict(key))


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
        write=True,
    ),
    Operation(
        method="GET",
        path="/v1/keys",
        summary="List API keys",
        tag="keys",
        handler=list_keys,
        response=KeyList,
        write=True,
    ),
    Operation(
        method="DELETE",
        path="/v1/keys/{id}",
        summary="Revoke an API key",
        tag="keys",
        handler=revoke,
        response=KeyAnswer,
        write=True,
    ),
)
