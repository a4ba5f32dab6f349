"""Bytes of ASGI responses and WebSockets, counted as the application hands them to the server.

This is the payload layer: what the application sent, before the server frames, compresses
(WebSockets) or encrypts it. A chunk is counted before it is handed on, so that after a crash no
received byte is missing; counting stops when the server announces that the client is gone.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from streamgauge.core.clock import Clock, SystemClock
from streamgauge.sdk.ingestion import Ingestion
from streamgauge.sdk.session import StreamSession
from streamgauge.streams.attribution import Attribution, Customer, Metadata
from streamgauge.streams.iterables import size_of
from streamgauge.streams.payers import BILLING_KEY, Payer
from streamgauge.streams.requests import AsgiRequestView, Scope

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

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
        customer: Asked with a view of the request at the first byte of a response that ``bill_to``
            named no customer for; may be asynchronous, for up to ``CUSTOMER_WAIT_S``. If it raises
            or takes longer, the response is unaffected and billed to nobody.
        metadata: What the bytes are, or a function of the same view that says so; ``bill_to`` adds.
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
        self.attribution = Attribution(
            ingestion, customer=customer, metadata=metadata, clock=clock or SystemClock()
        )

    @property
    def unattributed_bytes(self) -> int:
        """Return the bytes that were sent and are billed to nobody."""
        return self.attribution.unattributed_bytes

    @property
    def failures(self) -> int:
        """Return how often a customer could not be found out or billed."""
        return self.attribution.failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, counting what it sends."""
        if scope["type"] not in _EXCHANGES or BILLING_KEY in scope:
            await self._app(scope, receive, send)
            return
        response = Response(self.attribution, scope, receive, send)
        scope[BILLING_KEY] = response
        if not _UNCOUNTED_EXTENSIONS.isdisjoint(extensions := scope.get("extensions") or {}):
            offered = extensions.items()
            scope["extensions"] = {k: v for k, v in offered if k not in _UNCOUNTED_EXTENSIONS}
        try:
            await self._app(scope, response.receive, response.send)
        finally:
            response.close()


class Response:
    """One response or WebSocket on its way out."""

    __slots__ = (
        "_add",
        "_attribution",
        "_counts",
        "_held_bytes",
        "_payer",
        "_receive",
        "_scope",
        "_send",
        "_session",
    )

    def __init__(
        self, attribution: Attribution, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._attribution = attribution
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
        payer = self._payer or await self._attribution.find(AsgiRequestView(self._scope))
        payer = self._payer or payer
        if payer is not None and self._held_bytes:
            self._bill(payer)
        await self._send(message)

    def _bill(self, payer: Payer) -> None:
        view = AsgiRequestView(self._scope)
        previous, self._session = self._session, self._attribution.open_session(view, payer)
        if previous is not None:
            previous.close()
        if self._session is None:
            self._add = self._hold
            return
        self._add = self._session.add
        self._attribution.unattributed_bytes -= self._held_bytes
        held_bytes, self._held_bytes = self._held_bytes, 0
        self._session.add(held_bytes)

    def _hold(self, size: int) -> None:
        self._held_bytes += size
        self._attribution.unattributed_bytes += size


def _message_size(message: Message) -> int:
    data = message.get("bytes")
    if data is not None:
        return size_of(data)
    text: str = message.get("text") or ""
    return len(text) if text.isascii() else len(text.encode())
