"""``/meters``: what is measured."""

from __future__ import annotations

import asyncio
import logging

import msgspec
from msgspec import UNSET, UnsetType

from streamgauge.core.errors import InvalidInputError, StreamgaugeError
from streamgauge.core.limits import ROLLUP_WAIT_S
from streamgauge.server.api.operation import Call, Operation
from streamgauge.server.api.paging import PageQuery, given
from streamgauge.server.catalog.meters import NewMeter
from streamgauge.server.metering.meter import Meter, MeterAnswer, answer

_log = logging.getLogger("streamgauge.server.api")


class MeterQuery(PageQuery, frozen=True, kw_only=True):
    """Which meters: archived ones, or those in use."""

    archived: bool = False
    locale: str | None = None


class MeterPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What may change: texts for people. A null description clears it."""

    name: str | UnsetType | None = UNSET
    measurement_unit: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    event_name: object = UNSET
    aggregation: object = UNSET
    filter: object = UNSET


class MeterList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of meters."""

    items: list[MeterAnswer]


async def create(call: Call) -> MeterAnswer:
    """Keep a meter, then have its events rolled up.

    Usage is exact without the rollup too, only slower, and the next start makes it: so a meter
    that is kept is answered as made, and the official SDKs do not make it again.
    """
    meter = await call.run(call.parts.catalog.meters.create, call.caller.mode, call.body)
    try:
        await asyncio.wait_for(call.parts.add_meter(meter), ROLLUP_WAIT_S)
    except TimeoutError:
        _log.info("the rollup of %s is still being filled", meter.id)
    except StreamgaugeError:
        _log.warning("the rollup of %s waits for the next start", meter.id, exc_info=True)
    return answer(meter)


async def list_meters(call: Call) -> MeterList:
    """Return a page of meters, oldest first."""

    def read() -> list[Meter]:
        query: MeterQuery = call.query
        return call.parts.catalog.meters.list(
            call.caller.mode, archived=query.archived, page=query.page()
        )

    return MeterList(items=[answer(meter) for meter in await call.run(read)])


async def get(call: Call) -> MeterAnswer:
    """Return a meter."""
    return answer(await call.run(call.parts.catalog.meters.get, call.caller.mode, call.path["id"]))


async def patch(call: Call) -> MeterAnswer:
    """Change texts of a meter; what it measures stays for ever."""
    changes = given(call.body)
    for field in ("event_name", "aggregation", "filter"):
        if field in changes:
            raise InvalidInputError(field, changes[field], "be left out: it cannot be changed")
    # Dodo's SDK types these as nullable; null means no change, as they cannot be empty.
    for field in ("name", "measurement_unit"):
        if changes.get(field, "") is None:
            del changes[field]
    update = call.parts.catalog.meters.update
    return answer(await call.run(update, call.caller.mode, call.path["id"], changes))


async def archive(call: Call) -> None:
    """Leave a meter out of lists and new prices; its events go on being counted."""
    await call.run(call.parts.catalog.meters.archive, call.caller.mode, call.path["id"])


async def unarchive(call: Call) -> None:
    """Put a meter back."""
    await call.run(call.parts.catalog.meters.unarchive, call.caller.mode, call.path["id"])


OPERATIONS = (
    Operation(
        method="POST",
        path="/meters",
        summary="Make a meter",
        tag="meters",
        handler=create,
        body=NewMeter,
        response=MeterAnswer,
        status=201,
        needs="write",
    ),
    Operation(
        method="GET",
        path="/meters",
        summary="List meters",
        tag="meters",
        handler=list_meters,
        query=MeterQuery,
        response=MeterList,
    ),
    Operation(
        method="GET",
        path="/meters/{id}",
        summary="Get a meter",
        tag="meters",
        handler=get,
        response=MeterAnswer,
    ),
    Operation(
        method="PATCH",
        path="/meters/{id}",
        summary="Change the texts of a meter",
        tag="meters",
        handler=patch,
        body=MeterPatch,
        response=MeterAnswer,
        needs="write",
    ),
    Operation(
        method="DELETE",
        path="/meters/{id}",
        summary="Archive a meter",
        tag="meters",
        handler=archive,
        status=204,
        needs="write",
    ),
    Operation(
        method="POST",
        path="/meters/{id}/unarchive",
        summary="Unarchive a meter",
        tag="meters",
        handler=unarchive,
        needs="write",
    ),
)
