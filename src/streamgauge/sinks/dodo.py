"""Dodo Payments' usage API, which is our server's too: ``POST /events/ingest``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from streamgauge.core.clock import NS_PER_S, Clock, SystemClock
from streamgauge.core.errors import ConfigurationError, InvalidInputError, StreamgaugeError
from streamgauge.core.events import check_mode, check_text_id
from streamgauge.core.limits import BATCH_EVENTS_MAX, BODY_BYTES_MAX
from streamgauge.sinks.answers import settle, spent_s
from streamgauge.sinks.base import (
    AuthError,
    BatchTooLargeError,
    Delivered,
    Late,
    Outgoing,
    Refusal,
    RetryLaterError,
)
from streamgauge.sinks.doubt import Doubts, is_answered
from streamgauge.sinks.late import HELD_REASON, LatePolicy, Skew, check_late, dressed, is_held
from streamgauge.sinks.transport import Answer, HttpTransport

KEY_VARIABLE: Final = "DODO_PAYMENTS_API_KEY"
HOSTS: Final = {
    "test_mode": "https://test.dodopayments.com",
    "live_mode": "https://live.dodopayments.com",
}
_KEY_PREFIXES: Final = {
    "dodo_test_": "test_mode",
    "sg_test_": "test_mode",
    "dodo_live_": "live_mode",
    "sg_live_": "live_mode",
}
_INGEST_PATH: Final = "/events/ingest"
_KEY_STATUSES: Final = (401, 403)
_REFUSING_STATUSES: Final = (400, 422)
_STATUSES_WITH_WORDS: Final = 300

ApiKey = str | Callable[[], str]
"""A key, or a function that gives the current one; it is asked again when a key is not accepted."""


class DodoSink:
    """Delivers usage events to Dodo Payments, or to any server that speaks its API.

    Args:
        environment: ``test_mode`` or ``live_mode``; chooses Dodo's host unless ``base_url`` is set.
        api_key: The key or a function that gives it; None reads ``DODO_PAYMENTS_API_KEY``.
        base_url: Another address that speaks the API.
        late: What to do with events whose timestamps Dodo does not take any more: ``restamp``
            sends them under the oldest that it takes, ``hold`` keeps them aside. None: restamp
            towards Dodo's own hosts, and leave timestamps alone towards any other.
        account: A name of your own for the account behind the key, needed only where several
            accounts of one address share a spool directory: a spool is drained to its own alone.
        transport: How requests are sent; tests hand in their own.
        clock: Reads dates in answers.

    Raises:
        InvalidInputError: The environment is unknown, or the key is of the other one.
        ConfigurationError: There is no key, or ``base_url`` is no address.
    """

    def __init__(
        self,
        *,
        environment: str,
        api_key: ApiKey | None = None,
        base_url: str | None = None,
        account: str = "",
        late: str | None = None,
        transport: HttpTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._mode = check_mode(environment)
        self._transport = transport or HttpTransport(base_url or HOSTS[self._mode])
        self._clock = clock or SystemClock()
        self._late = check_late(late)
        if late is None and self._transport.address in HOSTS.values():
            self._late = LatePolicy.RESTAMP
        self._skew = Skew()
        self._spent_until_ns = 0
        self._doubts = Doubts(self._ask)
        self._destination = f"{self._transport.address} {self._mode}"
        if account:
            self._destination += f" {check_text_id(account, field='account')}"
        self._read_key = _key_reader(api_key)
        self._key: str | None = None
        if not callable(api_key):
            self._key = check_key(self._read_key(), self._mode)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._destination!r})"

    @property
    def destination(self) -> str:
        """Return address, mode and account."""
        return self._destination

    @property
    def asks_first(self) -> bool:
        """Return whether it must be told which events may have arrived before."""
        return self._late is not None

    def deliver(self, batch: Sequence[Outgoing]) -> Delivered:
        """Post the batch as one request; a key that is not accepted is read again once."""
        return self._deliver(batch)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _deliver(self, batch: Sequence[Outgoing], *, again: bool = False) -> Delivered:
        found = self._found(batch) if self._late else {}
        left = [event for event in batch if event.event_id not in found]
        delivered = self._send(left, again=again)
        self._doubts.forget(batch)
        return Delivered(
            acknowledged=(*delivered.acknowledged, *found),
            refused=delivered.refused,
            late={**delivered.late, **{id: late for id, late in found.items() if late}},
            wait_s=delivered.wait_s,
        )

    def _found(self, batch: Sequence[Outgoing]) -> dict[str, Late | None]:
        now_ns = self._clock.time_ns()
        there_ns = now_ns + self._skew.ns
        tried = [event for event in batch if event.attempted_at_ns is not None]
        held = {event.event_id for event in tried if is_held(event, self._late, there_ns)}
        return self._doubts.settle(batch, now_ns, held)

    def _send(self, batch: Sequence[Outgoing], *, again: bool) -> Delivered:
        there_ns = self._clock.time_ns() + self._skew.ns
        wire = {event.event_id: dressed(event, self._late, there_ns) for event in batch}
        late = {id: dress.late for id, dress in wire.items() if dress.late is not None}
        sent = [event for event in batch if late.get(event.event_id) is not Late.HELD]
        held = tuple(
            Refusal(event_id=id, reason=HELD_REASON.format(wire[id].measured))
            for id, what in late.items()
            if what is Late.HELD
        )
        if not sent:
            return Delivered(acknowledged=(), refused=held, late=late)
        answer = self._exchange([wire[event.event_id].body for event in sent])
        is_news = self._late is not None and self._skew.learn(answer, self._clock.time_ns())
        if is_news and not again and answer.status in _REFUSING_STATUSES:
            # Our clock, and with it what we took for late, was wrong.
            return self._deliver(batch, again=True)
        settled = settle(
            answer, sent, address=self._transport.address, now_ns=self._clock.time_ns()
        )
        return Delivered(
            acknowledged=settled.acknowledged, refused=held, late=late, wait_s=settled.wait_s
        )

    def _exchange(self, bodies: Sequence[bytes]) -> Answer:
        body = b'{"events":[%s]}' % b",".join(bodies)
        if len(bodies) > BATCH_EVENTS_MAX or len(body) > BODY_BYTES_MAX:
            raise BatchTooLargeError(
                f"{len(bodies)} events of {len(body)} bytes are more than one request may hold"
            )
        return self._with_key(lambda headers: self._transport.post(_INGEST_PATH, body, headers))

    def _ask(self, path: str) -> Answer:
        answer = self._with_key(lambda headers: self._transport.get(path, headers))
        if not is_answered(answer):
            # Raises what it means; of a batch of nothing, nothing is acknowledged.
            now_ns = self._clock.time_ns()
            settle(answer, (), address=self._transport.address, now_ns=now_ns)
            raise RetryLaterError(f"{self._transport.address} does not say what it has")
        return answer

    def _with_key(self, send: Callable[[dict[str, str]], Answer]) -> Answer:
        wait_s = (self._spent_until_ns - self._clock.monotonic_ns()) / NS_PER_S
        if wait_s > 0:
            said = f"the rate limit of {self._transport.address} is used up"
            raise RetryLaterError(said, wait_s, nothing_arrived=True)
        key = self._key or self._current_key()
        answer = _sent(send, key)
        spent_ns = int(spent_s(answer, self._clock.time_ns()) * NS_PER_S)
        self._spent_until_ns = self._clock.monotonic_ns() + spent_ns
        if answer.status in _KEY_STATUSES:
            fresh = self._current_key()
            if fresh != key:
                answer = _sent(send, fresh)
        return answer

    def _current_key(self) -> str:
        self._key = None
        try:
            key = check_key(self._read_key(), self._mode)
        except StreamgaugeError as error:
            raise AuthError(f"no usable API key: {error}", nothing_arrived=True) from error
        except Exception as error:  # noqa: BLE001 - the caller's function; the events wait for it
            # Its message may hold the key, so only its kind is told.
            raised = f"api_key() raised {type(error).__name__}"
            raise AuthError(raised, nothing_arrived=True) from None
        self._key = key
        return key


def check_key(key: object, mode: str) -> str:
    """Return ``key`` without surrounding white space if it may be a key of ``mode``.

    Raises:
        ConfigurationError: It is empty or cannot stand in a header; it is not shown.
        InvalidInputError: Its prefix says that it is of the other mode.
    """
    text = key.strip() if isinstance(key, str) else ""
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigurationError(
            f"there is no API key; pass api_key= or set {KEY_VARIABLE} to one line of plain text"
        )
    for prefix, key_mode in _KEY_PREFIXES.items():
        if text.startswith(prefix) and key_mode != mode:
            raise InvalidInputError("api_key", f"{prefix}...", f"be a key of {mode}")
    return text


def _sent(send: Callable[[dict[str, str]], Answer], key: str) -> Answer:
    answer = send({"authorization": f"Bearer {key}", "content-type": "application/json"})
    return answer if answer.status < _STATUSES_WITH_WORDS else _without(answer, key)


def _without(answer: Answer, key: str) -> Answer:
    """Return an answer whose words may be shown: some servers repeat the key they refuse."""
    headers = {name: value.replace(key, "[key]") for name, value in answer.headers.items()}
    body = answer.body.replace(key.encode(), b"[key]")
    return Answer(status=answer.status, headers=headers, body=body)


def _key_reader(api_key: ApiKey | None) -> Callable[[], str]:
    if api_key is None:
        return lambda: os.environ.get(KEY_VARIABLE, "")
    if callable(api_key):
        return api_key
    return lambda: api_key
