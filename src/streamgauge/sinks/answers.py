"""What an answer of the usage API means for a batch."""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from streamgauge.core.clock import NS_PER_S, to_ns
from streamgauge.core.errors import VALUE_SHOWN_CHARS_MAX
from streamgauge.core.limits import RETRY_AFTER_S_MAX
from streamgauge.sinks.base import (
    AuthError,
    BatchRefusedError,
    BatchTooLargeError,
    Delivered,
    Outgoing,
    Refusal,
    RetryLaterError,
)
from streamgauge.sinks.transport import Answer

# Seconds since 1970 and seconds from now cannot be confused this far apart.
_EPOCH_SECONDS_MIN: Final = 1_000_000_000
# Answers of those who did not look at the batch; a server's error may come after it was kept.
_TURNED_AWAY: Final = frozenset({301, 302, 303, 307, 308, 404, 405, 429})
_REFUSING: Final = frozenset({400, 422})
_MESSAGE_CHARS_MAX: Final = 4 * VALUE_SHOWN_CHARS_MAX


class _Accepted(msgspec.Struct):
    ingested_count: int


class _EventError(msgspec.Struct):
    """Our server's form; Dodo's schema has ``event_id`` and ``error``."""

    index: int | None = None
    event_id: str | None = None
    field: str | None = None
    reason: str | None = None
    error: str | None = None


class _Refused(msgspec.Struct):
    code: str = ""
    message: str = ""
    errors: list[_EventError] = []


def settle(answer: Answer, batch: Sequence[Outgoing], *, address: str, now_ns: int) -> Delivered:
    """Return the batch as acknowledged, or raise what the answer asks for.

    Args:
        answer: What came back for the batch.
        batch: What was sent, in the order it was sent.
        address: Who answered, for messages.
        now_ns: The time, for headers that name an instant.

    Raises:
        AuthError: 401 or 403.
        BatchTooLargeError: 413.
        BatchRefusedError: 400 or 422 in the API's form, with the events that the answer names.
        RetryLaterError: Anything else than an acknowledgement.
    """
    if answer.status in range(200, 300):
        return _acknowledge(answer, batch, address, now_ns)
    refusal = _decode_refusal(answer.body)
    said = f"{address} answered {answer.status}"
    if refusal is None:
        # Written by something before the API, which has not judged the events.
        if answer.status in _REFUSING:
            raise _later(answer, f"{said} without code and message; is it a usage API?", now_ns)
        refusal = _Refused()
    if refusal.message or refusal.code:
        said = f"{said}: {refusal.message or refusal.code}"[:_MESSAGE_CHARS_MAX]
    match answer.status:
        case status if status in _REFUSING:
            raise BatchRefusedError(said, _guilty(refusal, batch))
        case 401 | 403:
            raise AuthError(said, retry_after_s(answer, now_ns), nothing_arrived=True)
        case 413:
            raise BatchTooLargeError(said)
        case _:
            raise _later(answer, said, now_ns)


def retry_after_s(answer: Answer, now_ns: int) -> float | None:
    """Return the wait that the headers ask for, in seconds and bounded, or None."""
    value = answer.headers.get("retry-after")
    wait_s = None if value is None else _seconds_until(value, now_ns)
    if wait_s is None and answer.headers.get("x-ratelimit-remaining", "0").strip() == "0":
        wait_s = _seconds_until(answer.headers.get("x-ratelimit-reset", ""), now_ns)
    return None if wait_s is None else min(max(wait_s, 0.0), RETRY_AFTER_S_MAX)


def spent_s(answer: Answer, now_ns: int) -> float:
    """Return how long a rate limit is used up with this answer, in seconds; 0: it is not."""
    is_spent = answer.headers.get("x-ratelimit-remaining", "").strip() == "0"
    return (retry_after_s(answer, now_ns) or 0.0) if is_spent else 0.0


def _acknowledge(answer: Answer, batch: Sequence[Outgoing], address: str, now_ns: int) -> Delivered:
    try:
        # A sign-in page of a proxy also comes with 200; only the contract's answer counts.
        msgspec.json.decode(answer.body, type=_Accepted)
    except msgspec.MsgspecError as error:
        raise RetryLaterError(
            f"{address} answered {answer.status} without ingested_count; is it a usage API?"
        ) from error
    wait_s = spent_s(answer, now_ns)
    return Delivered(acknowledged=tuple(event.event_id for event in batch), wait_s=wait_s)


def _decode_refusal(body: bytes) -> _Refused | None:
    try:
        refused = msgspec.json.decode(body, type=_Refused)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return refused if refused.code or refused.message or refused.errors else None


def _guilty(refused: _Refused, batch: Sequence[Outgoing]) -> tuple[Refusal, ...]:
    ids = {event.event_id for event in batch}
    reasons: dict[str, list[str]] = {}
    for error in refused.errors:
        event_id = error.event_id
        if event_id not in ids and error.index is not None and 0 <= error.index < len(batch):
            event_id = batch[error.index].event_id
        if event_id is None or event_id not in ids:
            continue
        reason = error.reason or error.error or refused.message or "no reason given"
        named = not error.field or reason.startswith(error.field)
        text = reason if named else f"{error.field}: {reason}"
        reasons.setdefault(event_id, []).append(text[:_MESSAGE_CHARS_MAX])
    return tuple(
        Refusal(event_id=event_id, reason="; ".join(texts)) for event_id, texts in reasons.items()
    )


def _later(answer: Answer, said: str, now_ns: int) -> RetryLaterError:
    if answer.status in range(300, 400):
        target = answer.headers.get("location", "elsewhere")[:_MESSAGE_CHARS_MAX]
        said = f"{said} to {target}; redirects are not followed, so set base_url to the right one"
    return RetryLaterError(
        said, retry_after_s(answer, now_ns), nothing_arrived=answer.status in _TURNED_AWAY
    )


def _seconds_until(value: str, now_ns: int) -> float | None:
    text = value.strip()
    if text.isascii() and text.isdecimal():
        seconds = int(text[:20])
        return seconds - now_ns / NS_PER_S if seconds >= _EPOCH_SECONDS_MIN else float(seconds)
    try:
        return (to_ns(parsedate_to_datetime(text)) - now_ns) / NS_PER_S
    except (ValueError, TypeError, OverflowError):
        return None
