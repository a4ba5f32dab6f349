"""A body of ``POST /events/ingest`` to checked rows.

The fast path decodes and checks a whole batch and stops at the first fault; ``refusals`` then goes
through the same bytes again and lists every fault. Rules live in one place for both: ``rules`` and
``core``. Only a timestamp too far from our clock is no fault yet: a known id is a duplicate
before any rule that depends on time.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final, NamedTuple, cast

import msgspec

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.events import check_text_id
from streamgauge.core.limits import METADATA_PAIRS_MAX
from streamgauge.core.metadata import are_plain, canonical_raw, check_key
from streamgauge.server.ingest.errors import BatchRefusedError, EventError, MalformedBodyError
from streamgauge.server.ingest.refusals import refusals
from streamgauge.server.ingest.rows import Head
from streamgauge.server.ingest.rules import (
    EARLIEST,
    WireEvent,
    check_count,
    check_text,
    check_timestamp,
    earliest,
    untimely_error,
)


class WireBody(msgspec.Struct, frozen=True):
    """A batch as it is sent."""

    events: list[WireEvent]


class Batch(NamedTuple):
    """A checked batch.

    Attributes:
        head: What they have in common.
        events: In the order they were sent.
        event_ids: Theirs.
        untimely: Faults that count only if the id is new: timestamps too far from our clock.
    """

    head: Head
    events: list[WireEvent]
    event_ids: list[str]
    untimely: list[EventError]


class Scope(NamedTuple):
    """Whose events; the first part of every key."""

    business_id: str
    mode: str


_usual: Final = re.compile(r"[!-~]*+").fullmatch
_BODY: Final = msgspec.json.Decoder(WireBody)


def decode(body: bytes, scope: Scope, received_at: datetime, age_s_max: int | None = None) -> Batch:
    """Return the checked batch that ``body`` holds.

    Args:
        body: As it was sent.
        scope: Whose events.
        received_at: The server's time.
        age_s_max: How old a new event may be; any age since 2015 if None.

    Raises:
        MalformedBodyError: No JSON, or no object with a list ``events``.
        BatchRefusedError: Events break rules; all of them are listed.
        InvalidInputError: There are no events, or too many.
    """
    check_text(body)
    try:
        events = _BODY.decode(body).events
    except msgspec.ValidationError as error:
        raise _refused(body, received_at, age_s_max, error) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedBodyError(f"the body is not JSON: {error}") from None
    check_count(len(events))
    try:
        return _check(events, scope, received_at, age_s_max)
    except InvalidInputError as error:
        raise _refused(body, received_at, age_s_max, error) from error


def _check(events: list[WireEvent], scope: Scope, now: datetime, age_s_max: int | None) -> Batch:
    """Check events in place, rule by rule over all of them, where a rule costs least."""
    event_ids = [event.event_id for event in events]
    if len(set(event_ids)) != len(event_ids):
        raise InvalidInputError("event_id", "", "be unique in one request")
    _check_texts(event_ids, "event_id")
    _check_texts({event.event_name for event in events}, "event_name")
    _check_texts({event.customer_id for event in events}, "customer_id")
    untimely = _check_timestamps(events, now, age_s_max)
    _check_metadata(events)
    return Batch(Head(scope.business_id, scope.mode, now), events, event_ids, untimely)


def _check_texts(texts: Collection[str], field: str) -> None:
    """Check texts of the right length: together, unless something about them is unusual."""
    if not _usual("".join(texts)):
        for text in texts:
            check_text_id(text, field=field)


def _check_timestamps(
    events: list[WireEvent], now: datetime, age_s_max: int | None
) -> list[EventError]:
    """Put timestamps into UTC, and return the faults that count only for new ids."""
    untimely, oldest = [], earliest(now, age_s_max)
    for index, event in enumerate(events):
        at = event.timestamp
        if at is None:
            event.timestamp = now
            continue
        if at.tzinfo is not UTC or at < EARLIEST:
            at = event.timestamp = check_timestamp(at)
        if (at > now or at < oldest) and (
            fault := untimely_error(index, event.event_id, at, now, age_s_max)
        ):
            untimely.append(fault)
    return untimely


def _check_metadata(events: list[WireEvent]) -> None:
    """Make the values of all events canonical texts."""
    for event in events:
        if event.metadata is None:
            event.metadata = {}
    given = [event.metadata for event in events if event.metadata]
    if not given:
        return
    for key in set[str]().union(*given):
        check_key(key)
    longest = max(map(len, given))
    if longest > METADATA_PAIRS_MAX:
        raise InvalidInputError("metadata", longest, f"have at most {METADATA_PAIRS_MAX} pairs")
    values = [value for pairs in given for value in pairs.values()]
    joined = b"\n".join(values).decode()
    if are_plain(joined):
        texts = iter(joined.split("\n"))
    else:
        texts = iter([canonical_raw(str(value, "utf-8")) for value in values])
    # In place, since new mappings would cost more than everything else here together; from here on
    # they hold texts where the wire had JSON values.
    for pairs in cast("list[dict[str, str]]", given):
        for key in pairs:
            pairs[key] = next(texts)


def _refused(body: bytes, now: datetime, age_s_max: int | None, first: Exception) -> Exception:
    errors = refusals(body, now, age_s_max)
    if not errors:
        # Of a field that stands twice, the first pass reads both and the second only the last.
        return MalformedBodyError(f"the body is not of the right shape: {first}")
    return BatchRefusedError(errors)
