"""Keys in the browser: made, shown once, revoked."""

from __future__ import annotations

from functools import partial
from typing import cast

import msgspec
from starlette.responses import Response

from streamgauge.core.keys import KeyScope
from streamgauge.server.pages.web import Visit, redirect


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A key as the page shows it."""

    id: str
    name: str
    scope: str
    created_at: str
    revoked: bool


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A key's token, for the one page that shows it."""

    name: str
    token: str


async def show(visit: Visit) -> Response:
    """List the keys of the session's mode."""
    return visit.page("keys.html", keys=await _rows(visit), secret=None)


async def create(visit: Visit) -> Response:
    """Make a key and show its token, this once."""
    make = partial(
        visit.parts.catalog.keys.create,
        mode=visit.session.mode,
        name=visit.form.get("name", ""),
        scope=cast("KeyScope", visit.form.get("scope", "write")),
    )
    new = await visit.parts.run(make)
    secret = Secret(name=new.key.name, token=new.token)
    return visit.page("keys.html", keys=await _rows(visit), secret=secret)


async def revoke(visit: Visit) -> Response:
    """Make a key useless from the next request on."""
    undo = partial(
        visit.parts.catalog.keys.revoke, visit.form.get("id", ""), mode=visit.session.mode
    )
    await visit.parts.run(undo)
    return redirect("/app/keys")


async def _rows(visit: Visit) -> list[KeyRow]:
    keys = await visit.parts.run(partial(visit.parts.catalog.keys.list, mode=visit.session.mode))
    return [
        KeyRow(
            id=key.id,
            name=key.name,
            scope=key.scope,
            created_at=f"{key.created_at:%Y-%m-%d %H:%M}",
            revoked=key.revoked_at is not None,
        )
        for key in reversed(keys)
    ]
