"""Usage events: ingest, list, get.

Ingest is an ASGI endpoint of its own, since a batch is decoded to rows and not to a request struct.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from streamgauge.core.errors import InvalidInputError, StreamgaugeError
from streamgauge.core.limits import (
    BATCH_EVENTS_MAX,
    EVENTS_PAGE_MAX,
    EVENTS_PAGE_NUMBER_MAX,
    STRICT_AGE_S_MAX,
)
from streamgauge.server.api.arriving import Bodies
from streamgauge.server.api.auth import authenticate, check_scope, rated
from streamgauge.server.api.errors import MethodNotAllowedError, error_response
from streamgauge.server.api.operation import Call, Operation
from streamgauge.server.api.request_ids import HEADER, request_id
from streamgauge.server.api.routes import RawPathRoute
from streamgauge.server.ingest.decode import Scope as EventScope
from streamgauge.server.ingest.errors import (
    BatchRefusedError,
    EventError,
    MalformedBodyError,
    UnsupportedEncodingError,
)
from streamgauge.server.metering.meter import Meter
from streamgauge.server.parts import Parts
from streamgauge.server.store import StoredEvent

_ENCODE: Final = msgspec.json.Encoder().encode
_ALLOW: Final = "OPTIONS, POST"
_JSON: Final = "application/json"


class EventAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it was accepted."""

    business_id: str
    event_id: str
    customer_id: str
    event_name: str
    timestamp: datetime
    metadata: dict[str, msgspec.Raw]


class EventList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of events, newest first."""

    items: list[EventAnswer]


class EventsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are asked for.

    Attributes:
        start: Included.
        end: Excluded.
        meter_id: Events that this meter takes.
    """

    customer_id: str | None = None
    event_name: str | None = None
    meter_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    page_size: Annotated[int, msgspec.Meta(ge=1, le=EVENTS_PAGE_MAX)] = 10
    page_number: Annotated[int, msgspec.Meta(ge=0, le=EVENTS_PAGE_NUMBER_MAX)] = 0


class IngestEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is sent."""

    event_id: str
    customer_id: str
    event_name: str
    timestamp: datetime | None = None
    metadata: dict[str, str | int | float | bool] | None = None


class IngestBody(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as it is sent; taken whole or not at all."""

    events: Annotated[list[IngestEvent], msgspec.Meta(min_length=1, max_length=BATCH_EVENTS_MAX)]


class IngestResult(msgspec.Struct, frozen=True):
    """How one event ended: ``stored``, or ``duplicate`` of one that was stored before."""

    event_id: str
    result: str


class IngestAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every event of the batch is on disk, once.

    Attributes:
        ingested_count: Stored and duplicate ones together.
        results: One per event, in the order they were sent.
    """

    ingested_count: int
    results: list[IngestResult]


class RefusedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing of the batch was kept."""

    code: str
    message: str
    errors: tuple[EventError, ...]


class IngestEndpoint:
    """``POST /events/ingest``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._bodies = Bodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        id = request_id(scope)
        try:
            response = await self._answer(scope, receive, id)
        except Exception as error:  # noqa: BLE001 - the edge: every failure becomes an answer
            response = self._refusal(error, id)
        if response is not None:
            await rated(response, scope)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, id: str) -> Response | None:
        if scope["method"] == "OPTIONS":
            return Response(status_code=204, headers={"allow": _ALLOW})
        if scope["method"] != "POST":
            raise MethodNotAllowedError(scope["method"], _ALLOW)
        caller = await authenticate(scope, self._parts)
        check_scope(caller, "write")
        body = await self._bodies.read(scope, receive)
        if body is None:
            return None
        event_scope = EventScope(caller.business_id, caller.mode)
        ids, accepted = await self._parts.pipeline.ingest(
            body, event_scope, age_s_max=STRICT_AGE_S_MAX if caller.strict_timestamps else None
        )
        answer = IngestAnswer(
            ingested_count=len(ids),
            results=[
                IngestResult(event_id, "stored" if new else "duplicate")
                for event_id, new in zip(ids, accepted.stored, strict=True)
            ],
        )
        return Response(_ENCODE(answer), 200, {HEADER: id}, _JSON)

    def _refusal(self, error: Exception, id: str) -> Response:
        code = error.code if isinstance(error, StreamgaugeError) else StreamgaugeError.code
        self._parts.pipeline.refused[code] += 1
        headers = {HEADER: id}
        if isinstance(error, BatchRefusedError):
            refused = RefusedAnswer(code=error.code, message=str(error), errors=error.errors)
            return Response(_ENCODE(refused), 400, headers, _JSON)
        if isinstance(error, MalformedBodyError | UnsupportedEncodingError):
            status = 422 if isinstance(error, MalformedBodyError) else 415
            body = _ENCODE({"code": error.code, "message": str(error)})
            return Response(body, status, headers, _JSON)
        return error_response(error, id)


def ingest_routes(parts: Parts) -> list[BaseRoute]:
    """Return the route of ingest; it stands before ``/events/{event_id}``."""
    return [RawPathRoute("/events/ingest", IngestEndpoint(parts))]


async def _list(call: Call) -> EventList:
    asked: EventsQuery = call.query
    meter = await _meter(call, asked)
    await call.parts.pipeline.caught_up()

    def read() -> list[StoredEvent]:
        return call.parts.store.events(
            business_id=call.caller.business_id,
            mode=call.caller.mode,
            customer_id=asked.customer_id,
            event_name=asked.event_name,
            meter=meter,
            start=asked.start,
            end=asked.end,
            limit=asked.page_size,
            offset=asked.page_size * asked.page_number,
        )

    return EventList(items=[_event(event) for event in await call.run(read)])


async def _meter(call: Call, asked: EventsQuery) -> Meter | None:
    if asked.meter_id is None:
        return None
    meter = await call.run(call.parts.catalog.meters.get, call.caller.mode, asked.meter_id)
    if asked.event_name not in {None, meter.event_name}:
        rule = f"be left out or be {meter.event_name}, the event name of meter {meter.id}"
        raise InvalidInputError("event_name", asked.event_name, rule)
    return meter


async def _get(call: Call) -> EventAnswer:
    await call.parts.pipeline.caught_up()

    def read() -> StoredEvent:
        caller = call.caller
        return call.parts.store.event(
            call.path["event_id"], business_id=caller.business_id, mode=caller.mode
        )

    return _event(await call.run(read))


async def _described_only(_call: Call) -> object:
    raise AssertionError("IngestEndpoint serves this path")


def _event(event: StoredEvent) -> EventAnswer:
    return EventAnswer(
        business_id=event.business_id,
        event_id=event.event_id,
        customer_id=event.customer_id,
        event_name=event.event_name,
        timestamp=event.timestamp.astimezone(UTC),
        metadata={key: msgspec.Raw(text.encode()) for key, text in event.metadata.items()},
    )


DESCRIBED: Final = (
    Operation(
        method="POST",
        path="/events/ingest",
        summary="Take 1 to 1,000 usage events, each once",
        tag="events",
        handler=_described_only,
        body=IngestBody,
        response=IngestAnswer,
        needs="write",
    ),
)
"""What ``ingest_routes`` serves, for the description of the API."""

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/events",
        summary="List usage events, newest first",
        tag="events",
        handler=_list,
        query=EventsQuery,
        response=EventList,
    ),
    Operation(
        method="GET",
        path="/events/{event_id}",
        summary="Get a usage event",
        tag="events",
        handler=_get,
        response=EventAnswer,
    ),
)
