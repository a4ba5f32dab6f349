"""Bytes of ASGI responses and WebSockets, counted as the application hands them to the server.

A chunk is counted before it is handed on, so that after a crash no received byte is missing. What
the kernel says of the connection then settles what arrived; see ``exchange``.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from streamgauge.streams.exchange import Exchange
from streamgauge.streams.iterables import message_size, size_of
from streamgauge.streams.metering import Metering
from streamgauge.streams.model import (
    LAST_CHUNK_BYTES,
    STATUSES_WITHOUT_BODY,
    chunk_bytes,
    declared_bytes,
)
from streamgauge.streams.requests import AsgiRequestView, Scope
from streamgauge.streams.servers import head_of, link_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_STARTS: Final = (".start", ".accept", ".close")
_SWITCHING: Final = 101
_DISCONNECTS: Final = frozenset({"http.disconnect", "websocket.disconnect"})
# A server that sends a file itself does not say how much of it arrived. Without the kernel's word
# a customer who hangs up would be billed for all of it, so frameworks send chunks instead.
_UNCOUNTED_EXTENSIONS: Final = frozenset({"http.response.pathsend", "http.response.zerocopysend"})


class Response(Exchange):
    """One response or WebSocket on its way out, or one request on its way in."""

    __slots__ = (
        "_counts",
        "_frames",
        "_has_last",
        "_interim_bytes",
        "_is_plain",
        "_length",
        "_link",
        "_receive",
        "_scope",
        "_send",
    )

    def __init__(self, metering: Metering, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(metering)
        self._scope = scope
        self._receive = receive
        self._send = send
        self._counts = scope.get("method") != "HEAD"
        # Whether the server puts something around every chunk; whether a chunk is but its bytes.
        self._frames = False
        self._is_plain = False
        # What is known of the response's end.
        self._length: int | None = None
        self._has_last = False
        # Messages may be compressed on their way.
        self.handed.may_shrink = scope["type"] == "websocket"
        self._link = link = link_of(scope, receive, send)
        self._interim_bytes = link.interim_bytes
        if not self.attach_to(link) and "extensions" in scope:
            offered = (scope["extensions"] or {}).items()
            scope["extensions"] = {k: v for k, v in offered if k not in _UNCOUNTED_EXTENSIONS}

    def request(self) -> AsgiRequestView:
        """Return the request, for who must find out who pays."""
        return AsgiRequestView(self._scope)

    def end(self) -> None:
        """Note that the application has nothing more to say."""
        around = self._link.around_messages
        if not self.ended and self.status == _SWITCHING and around is not None:
            self.handed.add_around(around())
        super().end()

    async def receive(self) -> Message:
        """Receive for the application; note when the client is gone."""
        if self._interim_bytes:
            self.handed.head += self._interim_bytes
            self._interim_bytes = 0
        message = await self._receive()
        if message["type"] in _DISCONNECTS:
            # Servers go on taking messages after it, without sending them.
            self._counts = self._is_plain = False
            self.is_cut = not (self.ended or self._is_whole())
        return message

    async def receive_counted(self) -> Message:
        """Receive for the application, and count what came."""
        message = await self._receive()
        kind = message["type"]
        size = 0
        if kind == "http.request":
            size = len(message.get("body", b""))
        elif kind == "websocket.receive":
            size = message_size(message)
        if size:
            if self.add is None:
                await self.find_payer(size)
            else:
                self.add(size)
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Count the message and hand it on; a plain function, since it runs for every chunk."""
        if self._is_plain:
            try:
                body = message["body"]
                size = len(body) if body.__class__ is bytes else size_of(body)
                counter = self.counter
                counter.words[counter.at] += size  # type: ignore[index]  # None: the slow way.
            except (KeyError, TypeError, ValueError):
                return self._send_slowly(message)
            return self._send(message)
        return self._send_slowly(message)

    def _send_slowly(self, message: Message) -> Awaitable[None]:
        """Count what is no chunk like the one before it, and hand it on."""
        if self._counts:
            try:
                size = self._size(message)
            except (OSError, ValueError) as error:
                self._metering.attribution.complain("a message cannot be counted", error)
                size = 0
            if self.add is None and self.is_blind:
                return self._find_payer_and_send(message, size)
            if size:
                if self.add is None:
                    return self._find_payer_and_send(message, size)
                self.add(size)
        elif message["type"] == "http.response.start":
            self._start(message)
        if self._lacks_payer_of_head and message["type"].endswith(_STARTS):
            return self._find_payer_and_send(message, 0)
        return self._send(message)

    def _size(self, message: Message) -> int:
        kind = message["type"]
        if kind == "http.response.body":
            size = size_of(message.get("body", b""))
            if self._frames:
                self._frame(size, is_last=not message.get("more_body", False))
            return size
        if kind == "websocket.send":
            size = message_size(message)
            self.handed.add_message(size)
            return size
        if kind == "websocket.accept":
            self.status = _SWITCHING
        if kind == "http.response.start":
            self._start(message)
        elif kind == "http.response.pathsend":
            self._promise_file(message["path"], {})
        elif kind == "http.response.zerocopysend":
            self._promise_file(message["file"].fileno(), message)
        elif kind == "websocket.http.response.body":
            return size_of(message.get("body", b""))
        return 0

    def _promise_file(self, file: str | int, part: Message) -> None:
        count = part.get("count")
        if count is None:
            count = os.stat(file).st_size - (part.get("offset") or 0)  # noqa: PTH116 - or fd
        self.promise(max(count, 0))

    def _start(self, message: Message) -> None:
        self._interim_bytes = 0
        status, headers = message["status"], message.get("headers", ())
        self.status = status
        self._length = declared_bytes(headers)
        self._is_plain = self._counts = self._counts and status not in STATUSES_WITHOUT_BODY
        head = head_of(self._link, self._scope, status, headers)
        if head is None:
            return
        self.handed.head += head.size
        self.handed.is_modelled = True
        self._frames = self.handed.is_framed = self._counts and head.is_chunked
        self._is_plain = self._counts and not self._frames

    def _is_whole(self) -> bool:
        if self._length is None:
            return self._has_last
        return self.payload_handed() >= self._length

    def _frame(self, size: int, *, is_last: bool) -> None:
        self._has_last = is_last
        self.handed.framing += chunk_bytes(size) + (LAST_CHUNK_BYTES if is_last else 0)

    async def _find_payer_and_send(self, message: Message, size: int) -> None:
        await self.find_payer(size)
        await self._send(message)

    async def find_payer_of_head(self) -> None:
        """Find out who pays for what carried no payload, if that is not known."""
        if self._lacks_payer_of_head:
            await self.find_payer(0)

    @property
    def _lacks_payer_of_head(self) -> bool:
        return self.add is None and self._metering.asks_for_heads
