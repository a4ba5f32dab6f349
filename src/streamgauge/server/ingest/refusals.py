"""The second pass over a refused batch: every fault of every event."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

import msgspec

from streamgauge.core.errors import InvalidInputError, shown
from streamgauge.core.events import check_text_id
from streamgauge.core.limits import METADATA_PAIRS_MAX
from streamgauge.core.metadata import canonical_raw, check_key
from streamgauge.server.ingest.errors import EventError, MalformedBodyError
from streamgauge.server.ingest.rules import (
    WireEvent,
    check_count,
    check_timestamp,
    untimely_error,
)

_Fields = dict[str, msgspec.Raw]
_TEXTS: Final = ("event_id", "customer_id", "event_name")
_KNOWN: Final = frozenset(WireEvent.__struct_fields__)


class _Body(msgspec.Struct, frozen=True):
    events: list[msgspec.Raw]


def refusals(body: bytes, now: datetime, age_s_max: int | None = None) -> list[EventError]:
    """Return every fault of a batch that is JSON, in the order of its events.

    Raises:
        MalformedBodyError: No object with a list ``events``.
        InvalidInputError: There are no events, or too many.
    """
    try:
        events = msgspec.json.decode(body, type=_Body).events
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedBodyError(
            f"the body must be an object with a list events: {error}"
        ) from None
    check_count(len(events))
    errors: list[EventError] = []
    seen: set[str] = set()
    for index, raw in enumerate(events):
        errors += _Second(index, raw, now, age_s_max).faults(seen)
    return errors


class _Second:
    """The second look at one event."""

    def __init__(self, index: int, raw: msgspec.Raw, now: datetime, age_s_max: int | None) -> None:
        self._index = index
        self._raw = raw
        self._now = now
        self._age_s_max = age_s_max
        self._event_id: str | None = None

    def faults(self, seen: set[str]) -> Iterator[EventError]:
        """Yield what is wrong; ``seen`` holds the ids of the events before."""
        fields = _object(self._raw)
        if fields is None:
            yield self._fault("event", InvalidInputError("event", _text(self._raw), "be an object"))
            return
        if isinstance(given := _plain(fields.get("event_id")), str):
            self._event_id = given
        for check in (self._texts, self._timestamp, self._metadata, self._unknown):
            yield from check(fields)
        if self._event_id is not None:
            if self._event_id in seen:
                rule = "be unique in one request"
                yield self._fault("event_id", InvalidInputError("event_id", self._event_id, rule))
            seen.add(self._event_id)

    def _texts(self, fields: _Fields) -> Iterator[EventError]:
        for name in _TEXTS:
            if name not in fields:
                yield self._fault(name, InvalidInputError(name, None, "be given"))
            else:
                yield from self._caught(name, check_text_id, _plain(fields[name]), field=name)

    def _timestamp(self, fields: _Fields) -> Iterator[EventError]:
        raw = fields.get("timestamp")
        if raw is None or _text(raw) == "null":
            return
        try:
            at = msgspec.json.decode(raw, type=datetime)
        except (msgspec.DecodeError, RecursionError):
            rule = "be an RFC 3339 date and time, such as 2026-01-31T12:00:00Z"
            yield self._fault("timestamp", InvalidInputError("timestamp", _plain(raw), rule))
            return
        faults = list(self._caught("timestamp", check_timestamp, at))
        yield from faults
        if faults:
            return
        untimely = untimely_error(
            self._index, self._event_id or "", check_timestamp(at), self._now, self._age_s_max
        )
        if untimely is not None:
            yield msgspec.structs.replace(untimely, event_id=self._event_id)

    def _metadata(self, fields: _Fields) -> Iterator[EventError]:
        raw = fields.get("metadata")
        if raw is None or _text(raw) == "null":
            return
        pairs = _object(raw)
        if pairs is None:
            error = InvalidInputError("metadata", _plain(raw), "be an object of plain values")
            yield self._fault("metadata", error)
            return
        if len(pairs) > METADATA_PAIRS_MAX:
            rule = f"have at most {METADATA_PAIRS_MAX} pairs"
            yield self._fault("metadata", InvalidInputError("metadata", len(pairs), rule))
            return
        for key, value in pairs.items():
            field = f"metadata.{key}"
            yield from self._caught("metadata", check_key, key)
            yield from self._caught(field, canonical_raw, str(value, "utf-8"), field=field)

    def _unknown(self, fields: _Fields) -> Iterator[EventError]:
        for name in fields.keys() - _KNOWN:
            rule = f"not be there; the fields of an event are {', '.join(sorted(_KNOWN))}"
            yield self._fault(
                shown(name), InvalidInputError(shown(name), _plain(fields[name]), rule)
            )

    def _caught(
        self, at: str, check: Callable[..., object], value: object, **options: str
    ) -> Iterator[EventError]:
        try:
            check(value, **options)
        except InvalidInputError as error:
            yield self._fault(at, error)

    def _fault(self, field: str, error: InvalidInputError) -> EventError:
        return EventError(
            index=self._index, event_id=self._event_id, field=field, reason=str(error)
        )


def _object(raw: msgspec.Raw) -> _Fields | None:
    try:
        return msgspec.json.decode(raw, type=_Fields)
    except (msgspec.ValidationError, RecursionError):
        return None


class _Unread:
    """A value too large or too deep for any type; an error shows it as it was sent."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _plain(raw: msgspec.Raw | None) -> object:
    if raw is None:
        return None
    try:
        value: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return _Unread(_text(raw))
    return value


def _text(raw: msgspec.Raw) -> str:
    return str(raw, "utf-8")
