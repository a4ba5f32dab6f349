"""A body of ``POST /events/ingest`` to checked rows.

The fast path decodes and checks a whole batch and stops at the first fault; ``refusals`` then goes
through the same bytes again and lists every fault. Rules live in one place for both: ``rules`` and
``core``. Only a timestamp too far from our clock is no fault yet: a known id is a duplicate
before any rule that depends on time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.events import check_text_id
from streamgauge.core.limits import METADATA_PAIRS_MAX
from streamgauge.core.metadata import canonical_raw, check_key, is_plain
from streamgauge.server.ingest.errors import BatchRefusedError, EventError, MalformedBodyError
from streamgauge.server.ingest.refusals import refusals
from streamgauge.server.ingest.rows import Row
from streamgauge.server.ingest.rules import (
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
        rows: In the order they were sent.
        untimely: Faults that count only if the id is new: timestamps too far from our clock.
    """

    rows: list[Row]
    untimely: list[EventError]


class Scope(NamedTuple):
    """Whose events; the first part of every key."""

    business_id: str
    mode: str


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


def check_metadata(given: dict[str, msgspec.Raw] | None, checked_keys: set[str]) -> dict[str, str]:
    """Return canonical texts by key.

    Args:
        given: As it was sent.
        checked_keys: Keys known to be good; others are checked and added.

    Raises:
        InvalidInputError: A key or a value breaks a rule, or there are too many pairs.
    """
    if not given:
        return {}
    if len(given) > METADATA_PAIRS_MAX:
        raise InvalidInputError("metadata", len(given), f"have at most {METADATA_PAIRS_MAX} pairs")
    texts = {}
    for key, raw in given.items():
        text = str(raw, "utf-8")
        if not is_plain(text):
            text = canonical_raw(text, field=f"metadata.{key}")
        if key not in checked_keys:
            checked_keys.add(check_key(key))
        texts[key] = text
    return texts


def _check(events: list[WireEvent], scope: Scope, now: datetime, age_s_max: int | None) -> Batch:
    rows, untimely, oldest = [], [], earliest(now, age_s_max)
    business_id, mode = scope
    # Names, customers and keys recur within a batch; each is checked once.
    names, customers, keys = set[str](), set[str](), set[str]()
    for index, event in enumerate(events):
        at = now if event.timestamp is None else check_timestamp(event.timestamp)
        if (at > now or at < oldest) and (
            fault := untimely_error(index, event.event_id, at, now, age_s_max)
        ):
            untimely.append(fault)
        if event.event_name not in names:
            names.add(check_text_id(event.event_name, field="event_name"))
        if event.customer_id not in customers:
            customers.add(check_text_id(event.customer_id, field="customer_id"))
        row = Row(
            business_id,
            mode,
            event.event_name,
            event.customer_id,
            at,
            check_text_id(event.event_id, field="event_id"),
            check_metadata(event.metadata, keys),
            now,
        )
        rows.append(row)
    if len({row.event_id for row in rows}) != len(rows):
        raise InvalidInputError("event_id", "", "be unique in one request")
    return Batch(rows, untimely)


def _refused(body: bytes, now: datetime, age_s_max: int | None, first: Exception) -> Exception:
    errors = refusals(body, now, age_s_max)
    if not errors:
        # Of a field that stands twice, the first pass reads both and the second only the last.
        return MalformedBodyError(f"the body is not of the right shape: {first}")
    return BatchRefusedError(errors)
