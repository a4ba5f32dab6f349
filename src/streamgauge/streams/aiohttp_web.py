"""Bytes of aiohttp.web's responses, counted as they reach the request's writer.

Files that aiohttp sends itself, and messages of WebSockets, pass no writer: of these the kernel's
word is billed, so a WebSocket's payload holds its frames and is ``estimated``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from streamgauge.core.clock import Clock
from streamgauge.core.payers import BILLING_KEY
from streamgauge.sdk.ingestion import Ingestion
from streamgauge.streams.attribution import Customer, Metadata
from streamgauge.streams.exchange import Exchange
from streamgauge.streams.iterables import size_of
from streamgauge.streams.kernel.connections import Connections
from streamgauge.streams.layers import Measured
from streamgauge.streams.link import Link
from streamgauge.streams.metering import Metered, Metering
from streamgauge.streams.model import (
    LAST_CHUNK_BYTES,
    STATUSES_WITHOUT_BODY,
    chunk_bytes,
    fields_bytes,
)
from streamgauge.streams.requests import AiohttpRequestView

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LINE_END: Final = len(b"\r\n")
# More than any WebSocket will carry; only what arrives of it is billed.
_ENDLESS_BYTES: Final = 1 << 60


class StreamBytesMiddleware(Metered):
    """Bills the bytes of every response and WebSocket to whom ``bill_to`` or ``customer`` names.

    ``web.Application(middlewares=[StreamBytesMiddleware(ingestion=ingestion)])``, first in the
    list; a second one on the same request leaves the counting to the first.

    Args:
        ingestion: Where to.
        customer: As for ``streamgauge.asgi.StreamBytesMiddleware``, like all that follow.
        metadata: What the bytes are, or a function of the request's view that says so.
        layer: Which bytes are billed: ``payload``, ``http``, ``tls``, ``wire`` or ``wire_once``.
        layers_told: Layers whose bytes stand in the metadata of events, as ``sg_LAYER_bytes``.
        on_measured: Called with a ``Measured`` of every exchange when its figures are final; from
            any thread.
        connections: Shared by the middlewares of a process; one is made if none is given.
        clock: Says when exchanges begin, and spaces log lines.

    Raises:
        InvalidInputError: A value breaks a rule.
    """

    __middleware_version__ = 1

    def __init__(
        self,
        *,
        ingestion: Ingestion,
        customer: Customer | None = None,
        metadata: Metadata | None = None,
        layer: str = "payload",
        layers_told: Sequence[str] = (),
        on_measured: Callable[[Measured], None] | None = None,
        connections: Connections | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            Metering(
                ingestion,
                customer=customer,
                metadata=metadata,
                layer=layer,
                layers_told=layers_told,
                on_measured=on_measured,
                connections=connections,
                clock=clock,
            )
        )

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Run the handler; what it answers is counted when aiohttp writes it."""
        if BILLING_KEY in request:
            return await handler(request)
        response = Response(self._metering, request)
        request[BILLING_KEY] = response
        try:
            answer = await handler(request)
        except web.HTTPException:
            raise
        except BaseException:
            response.leave_to_server()
            raise
        response.sends_file = isinstance(answer, web.FileResponse)
        return answer


class Response(Exchange):
    """One response or WebSocket on its way out."""

    __slots__ = ("_counts", "_length", "_request", "_write", "_write_eof", "_write_headers",
                 "_writer", "sends_file")  # fmt: skip

    def __init__(self, metering: Metering, request: web.Request) -> None:
        super().__init__(metering)
        self._request = request
        self._counts = request.method != "HEAD"
        self._length: int | None = None
        self.sends_file = False
        self._writer: Any = request.writer
        self._write = self._writer.write
        self._write_eof = self._writer.write_eof
        self._write_headers = self._writer.write_headers
        for name in ("write", "write_eof", "write_headers"):
            setattr(self._writer, name, getattr(self, name))
        transport = request.transport
        if transport is not None:
            is_tls = transport.get_extra_info("ssl_object") is not None
            self.attach_to(Link(is_tls=is_tls, socket=transport.get_extra_info("socket")))
        # Of what ends without a last word, such as a WebSocket.
        request.task.add_done_callback(lambda _: self.end())

    def request(self) -> AiohttpRequestView:
        """Return the request, for who must find out who pays."""
        return AiohttpRequestView(self._request)

    def leave_to_server(self) -> None:
        """Note that what follows is the server's own answer to an error."""
        self._counts = False

    async def write_headers(self, status_line: str, headers: Any) -> None:  # noqa: ANN401
        """Write the head; note what it says."""
        self.status = int(status_line.split(" ", 2)[1])
        self._counts = self._counts and self.status not in STATUSES_WITHOUT_BODY
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        self.handed.head += len(status_line) + 2 * _LINE_END + fields_bytes(pairs)
        self.handed.is_modelled = True
        self.handed.is_framed = bool(self._writer.chunked)
        length = headers.get("Content-Length", "")
        self._length = int(length) if length.isdecimal() else None
        if self._counts and self._connection is not None:
            if self.status == HTTPStatus.SWITCHING_PROTOCOLS:
                self.handed.is_framed = True
                await self._promise(_ENDLESS_BYTES)
            elif self.sends_file and self._length:
                await self._promise(self._length)
        await self._write_headers(status_line, headers)

    async def write(self, chunk: Any, **options: Any) -> None:  # noqa: ANN401 - as aiohttp has it
        """Count a chunk and write it."""
        if getattr(self._writer, "_compress", None) is None:
            await self._count(size_of(chunk))
            await self._write(chunk, **options)
        else:
            await self._compressed(self._write(chunk, **options), last_bytes=0)

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Count and write what is last."""
        last_bytes = LAST_CHUNK_BYTES if self._writer.chunked else 0
        if getattr(self._writer, "_compress", None) is None:
            await self._count(size_of(chunk))
            self.handed.framing += last_bytes
            await self._write_eof(chunk)
        else:
            await self._compressed(self._write_eof(chunk), last_bytes=last_bytes)
        if self._connection is not None and self._counts and self._length is not None:
            # What no writer has seen was sent by the server itself.
            unseen_bytes = self._length - self.payload_handed()
            if unseen_bytes > 0:
                await self._promise(unseen_bytes)
        if self.add is None and self._metering.asks_for_heads:
            await self.find_payer(0)
        self.end()

    async def _count(self, size: int) -> None:
        if not self._counts or not size or self.is_blind:
            return
        if self._length is not None:
            # aiohttp sends no more than the head has said.
            size = min(size, max(self._length - self.payload_handed(), 0))
        if self._writer.chunked:
            self.handed.framing += chunk_bytes(size)
        if self.add is None:
            await self.find_payer(size)
        else:
            self.add(size)

    async def _compressed(self, writing: Awaitable[None], *, last_bytes: int) -> None:
        """Count what the writer makes of a chunk: only then its size is known."""
        head = self.handed.head if self._writer.output_size == 0 else 0
        before = self._writer.output_size
        await writing
        written = self._writer.output_size - before
        if not written:
            return
        written -= head + last_bytes
        self.handed.framing += last_bytes
        await self._count(_unframed(written) if self._writer.chunked else written)

    async def _promise(self, size: int) -> None:
        self.promise(size)
        if self.add is None:
            await self.find_payer(0)


def _unframed(size: int) -> int:
    """Return the bytes inside one chunk of ``size`` bytes with what is around it."""
    around = next((one for one in range(5, 24) if chunk_bytes(size - one) == one), size)
    return max(size - around, 0)
