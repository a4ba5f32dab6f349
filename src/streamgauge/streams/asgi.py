"""Bytes of ASGI responses and WebSockets, counted as the application hands them to the server.

This is the payload layer: what the application sent, before the server frames, compresses
(WebSockets) or encrypts it. A chunk is counted before it is handed on, so that after a crash no
received byte is missing; counting stops when the server announces that the client is gone.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from streamgauge.core.clock import Clock, SystemClock
from streamgauge.core.errors import StreamgaugeError
from streamgauge.sdk.ingestion import Ingestion
from streamgauge.sdk.session import StreamSession
from streamgauge.streams.iterables import size_of
from streamgauge.streams.payers import BILLING_KEY, Complaints, Customer, Payer, Scope

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Metadata = Mapping[str, object] | Callable[[Scope], Mapping[str, object] | None]

_EXCHANGES: Final = frozenset({"http", "websocket"})
_STATUSES_WITHOUT_BODY: Final = frozenset({204, 304})
_DISCONNECTS: Final = frozenset({"http.disconnect", "websocket.disconnect"})
# A server that sends a file itself does not say how much of it arrived: a customer who hangs up
# would be billed for all of it. Without the offer, frameworks send chunks, which are counted.
_UNCOUNTED_EXTENSIONS: Final = frozenset({"http.response.pathsend", "http.response.zerocopysend"})


class StreamBytesMiddleware:
    """Bills the bytes of every response and WebSocket to whom ``bill_to`` or ``customer`` names.

    Put it outermost, where compressed bytes are already compressed; a second one on the same
    request leaves the counting to the first.

    Args:
        app: The ASGI application.
        ingestion: Where to.
        customer: Asked with the scope at the first byte of a response that ``bill_to`` did not
            name a customer for; may be asynchronous. If it raises, the response is unaffected.
        metadata: What the bytes are, or a function of the scope that says so; ``bill_to`` adds.
        clock: Spaces log lines.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        ingestion: Ingestion,
        customer: Customer | None = None,
        metadata: Metadata | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._app = app
        self._ingestion = ingestion
        self._customer = customer
        self._metadata = metadata
        self._complaints = Complaints(clock or SystemClock())
        self.unattributed_bytes = 0
        """Bytes that were sent and are billed to nobody."""

    @property
    def failures(self) -> int:
        """Return how often a customer could not be found out or billed."""
        return self._complaints.count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, counting what it sends."""
        if scope["type"] not in _EXCHANGES or BILLING_KEY in scope:
            await self._app(scope, receive, send)
            return
        response = Response(self, scope, receive, send)
        scope[BILLING_KEY] = response
        if not _UNCOUNTED_EXTENSIONS.isdisjoint(extensions := scope.get("extensions") or {}):
            offered = extensions.items()
            scope["extensions"] = {k: v for k, v in offered if k not in _UNCOUNTED_EXTENSIONS}
        try:
            await self._app(scope, response.receive, response.send)
        finally:
            response.close()

    async def find_payer(self, scope: Scope) -> Payer | None:
        """Return whom ``customer`` names, if it does; a failure of it is nobody."""
        if self._customer is None:
            return None
        try:
            named = self._customer(scope)
            customer_id = await named if inspect.isawaitable(named) else named
        except Exception as error:  # noqa: BLE001 - the caller's function; the stream goes on
            self._complaints.add("customer= failed; its response is billed to nobody", error)
            return None
        return None if customer_id is None else Payer(customer_id, {})

    def open_session(self, scope: Scope, payer: Payer) -> StreamSession | None:
        """Return a session of ``payer``, or None if there can be none."""
        try:
            own = self._metadata(scope) if callable(self._metadata) else self._metadata
            metadata = {**(own or {}), **payer.metadata}
            return self._ingestion.session(customer_id=payer.customer_id, metadata=metadata)
        except StreamgaugeError as error:
            self._complaints.add("a response is billed to nobody", error)
        except Exception as error:  # noqa: BLE001 - the caller's function; the stream goes on
            self._complaints.add("metadata= failed; its response is billed to nobody", error)
        return None


class Response:
    """One response or WebSocket on its way out."""

    __slots__ = (
        "_add",
        "_counts",
        "_held_bytes",
        "_meter",
        "_payer",
        "_receive",
        "_scope",
        "_send",
        "_session",
    )

    def __init__(
        self, meter: StreamBytesMiddleware, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._meter = meter
        self._scope = scope
        self._receive = receive
        self._send = send
        self._counts = scope.get("method") != "HEAD"
        self._payer: Payer | None = None
        self._session: StreamSession | None = None
        self._held_bytes = 0
        # None: who pays must be found out at the next byte.
        self._add: Callable[[int], None] | None = None

    def bill_to(self, payer: Payer) -> None:
        """Bill what is not billed yet, and what follows, to ``payer``."""
        if self._session is None or payer != self._payer:
            self._payer = payer
            self._add = None

    async def receive(self) -> Message:
        """Receive for the application; note when the client is gone."""
        message = await self._receive()
        if message["type"] in _DISCONNECTS:
            # Servers go on taking messages after it, without sending them.
            self._counts = False
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Count the message and hand it on; a plain function, since it runs for every chunk."""
        if self._counts:
            if message["type"] == "http.response.body":
                body = message.get("body", b"")
                size = len(body) if type(body) is bytes else size_of(body)
            else:
                size = self._size(message)
            if size:
                add = self._add
                if add is None:
                    return self._find_payer_and_send(message, size)
                add(size)
        return self._send(message)

    def close(self) -> None:
        """Bill what is held, if somebody pays, and end the session."""
        if self._held_bytes and self._payer is not None and self._add is None:
            self._bill(self._payer)
        if self._session is not None:
            self._session.close()

    def _size(self, message: Message) -> int:
        kind = message["type"]
        if kind == "websocket.send":
            return _message_size(message)
        if kind == "http.response.start":
            self._counts = message["status"] not in _STATUSES_WITHOUT_BODY
        elif kind == "http.response.pathsend":
            return os.stat(message["path"]).st_size  # noqa: PTH116 - sent without being offered
        elif kind == "websocket.http.response.body":
            return size_of(message.get("body", b""))
        return 0

    async def _find_payer_and_send(self, message: Message, size: int) -> None:
        # Bytes that other tasks send meanwhile wait for the answer without waiting themselves.
        self._add = self._hold
        self._hold(size)
        payer = self._payer or await self._meter.find_payer(self._scope)
        payer = self._payer or payer
        if payer is not None and self._held_bytes:
            self._bill(payer)
        await self._send(message)

    def _bill(self, payer: Payer) -> None:
        previous, self._session = self._session, self._meter.open_session(self._scope, payer)
        if previous is not None:
            previous.close()
        if self._session is None:
            self._add = self._hold
            return
        self._add = self._session.add
        self._meter.unattributed_bytes -= self._held_bytes
        held_bytes, self._held_bytes = self._held_bytes, 0
        self._session.add(held_bytes)

    def _hold(self, size: int) -> None:
        self._held_bytes += size
        self._meter.unattributed_bytes += size


def _message_size(message: Message) -> int:
    data = message.get("bytes")
    if data is not None:
        return size_of(data)
    text: str = message.get("text") or ""
    return len(text) if text.isascii() else len(text.encode())
