"""Dodo Payments' usage API, which is our server's too: ``POST /events/ingest``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from streamgauge.core.clock import Clock, SystemClock
from streamgauge.core.errors import ConfigurationError, InvalidInputError, StreamgaugeError
from streamgauge.core.events import check_mode, check_text_id
from streamgauge.core.limits import BATCH_EVENTS_MAX, BODY_BYTES_MAX
from streamgauge.sinks.answers import settle
from streamgauge.sinks.base import AuthError, BatchTooLargeError, Delivered, Outgoing
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
_STATUSES_WITH_WORDS: Final = 300

ApiKey = str | Callable[[], str]
"""A key, or a function that gives the current one; it is asked again when a key is not accepted."""


class DodoSink:
    """Delivers usage events to Dodo Payments, or to any server that speaks its API.

    Args:
        environment: ``test_mode`` or ``live_mode``; chooses Dodo's host unless ``base_url`` is set.
        api_key: The key or a function that gives it; None reads ``DODO_PAYMENTS_API_KEY``.
        base_url: Another address that speaks the API.
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
        transport: HttpTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._mode = check_mode(environment)
        self._transport = transport or HttpTransport(base_url or HOSTS[self._mode])
        self._clock = clock or SystemClock()
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

    def deliver(self, batch: Sequence[Outgoing]) -> Delivered:
        """Post the batch as one request; a key that is not accepted is read again once."""
        body = b'{"events":[%s]}' % b",".join(event.body for event in batch)
        if len(batch) > BATCH_EVENTS_MAX or len(body) > BODY_BYTES_MAX:
            raise BatchTooLargeError(
                f"{len(batch)} events of {len(body)} bytes are more than one request may hold"
            )
        key = self._key or self._current_key()
        answer = self._post(body, key)
        if answer.status in _KEY_STATUSES:
            fresh = self._current_key()
            if fresh != key:
                answer = self._post(body, fresh)
        return settle(answer, batch, address=self._transport.address, now_ns=self._clock.time_ns())

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _post(self, body: bytes, key: str) -> Answer:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        answer = self._transport.post(_INGEST_PATH, body, headers)
        return answer if answer.status < _STATUSES_WITH_WORDS else _without(answer, key)

    def _current_key(self) -> str:
        self._key = None
        try:
            key = check_key(self._read_key(), self._mode)
        except StreamgaugeError as error:
            raise AuthError(f"no usable API key: {error}") from error
        except Exception as error:  # noqa: BLE001 - the caller's function; the events wait for it
            # Its message may hold the key, so only its kind is told.
            raise AuthError(f"api_key() raised {type(error).__name__}") from None
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
