"""Bytes of WSGI responses, counted as the server takes them from the application.

A file that the application gives to the server as ``wsgi.file_wrapper`` stays that, so that the
server may send it without copying; its bytes are then the kernel's to count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from streamgauge.core.clock import Clock
from streamgauge.core.payers import BILLING_KEY
from streamgauge.sdk.ingestion import Ingestion
from streamgauge.streams.attribution import Customer, Metadata
from streamgauge.streams.bodies import Chunks, CountedInput, SizedChunks, file_size
from streamgauge.streams.exchange import Exchange
from streamgauge.streams.iterables import size_of
from streamgauge.streams.kernel.connections import Connections
from streamgauge.streams.layers import Measured
from streamgauge.streams.metering import Metered, Metering
from streamgauge.streams.model import (
    LAST_CHUNK_BYTES,
    STATUSES_WITHOUT_BODY,
    chunk_bytes,
    declared_bytes,
)
from streamgauge.streams.requests import Environ, WsgiRequestView
from streamgauge.streams.wsgi_servers import link_of

Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]

_FILE_WRAPPER: Final = "wsgi.file_wrapper"


class StreamBytesMiddleware(Metered):
    """Bills the bytes of every WSGI response to whom ``bill_to`` or ``customer`` names.

    Put it outermost, where compressed bytes are already compressed; a second one on the same
    request leaves the counting to the first.

    Args:
        app: The WSGI application.
        ingestion: Where to.
        customer: Asked with a view of the request at the first byte of a response that ``bill_to``
            named no customer for. If it raises, the response is unaffected and billed to nobody.
        metadata: What the bytes are, or a function of the same view that says so; ``bill_to`` adds.
        layer: Which bytes are billed: ``payload``, ``http``, ``tls``, ``wire`` or ``wire_once``.
        direction: ``egress``, what is sent, or ``ingress``, what is received.
        layers_told: Layers whose bytes stand in the metadata of events, as ``sg_LAYER_bytes``.
        on_measured: Called with a ``Measured`` of every exchange when its figures are final; from
            any thread.
        connections: Shared by the middlewares of a process; one is made if none is given.
        clock: Says when exchanges begin, and spaces log lines.

    Raises:
        InvalidInputError: A value breaks a rule.
    """

    def __init__(  # noqa: PLR0913 - choices, each with a default.
        self,
        app: WSGIApp,
        *,
        ingestion: Ingestion,
        customer: Customer | None = None,
        metadata: Metadata | None = None,
        layer: str = "payload",
        direction: str = "egress",
        layers_told: Sequence[str] = (),
        on_measured: Callable[[Measured], None] | None = None,
        connections: Connections | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._app = app
        super().__init__(
            Metering(
                ingestion,
                customer=customer,
                metadata=metadata,
                layer=layer,
                direction=direction,
                layers_told=layers_told,
                on_measured=on_measured,
                connections=connections,
                clock=clock,
            )
        )

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Run the application, counting what it sends, or what it receives."""
        if BILLING_KEY in environ:
            return self._app(environ, start_response)
        response = Response(self._metering, environ, start_response)
        environ[BILLING_KEY] = response
        try:
            return response.carry(self._app(environ, response.start))
        except BaseException:
            response.end()
            raise


class Response(Exchange):
    """One response on its way out, or one request on its way in."""

    __slots__ = ("_counts", "_environ", "_frames", "_head", "_left", "_sends", "_start_response")

    def __init__(self, metering: Metering, environ: Environ, start_response: StartResponse) -> None:
        super().__init__(metering)
        self._environ = environ
        self._start_response = start_response
        self._sends = metering.direction == "egress"
        self._counts = self._sends and environ.get("REQUEST_METHOD") != "HEAD"
        self._frames = False
        self.is_cut = True
        # What may still follow by the response's own Content-Length.
        self._left: int | None = None
        link = link_of(environ, start_response)
        self._head = link.started_head
        if not self.attach_to(link):
            # Who sends a file itself does not say how much of it arrived, so chunks are sent.
            environ.pop(_FILE_WRAPPER, None)
        if not self._sends and "wsgi.input" in environ:
            environ["wsgi.input"] = CountedInput(environ["wsgi.input"], self.count)

    def request(self) -> WsgiRequestView:
        """Return the request, for who must find out who pays."""
        return WsgiRequestView(self._environ)

    def start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: Any = None,  # noqa: ANN401
    ) -> Write:
        """Start the response for the application, and note what its head says."""
        given = (status, headers) if exc_info is None else (status, headers, exc_info)
        write = self._start_response(*given)
        if not self._sends:
            return write
        self.status = int(status[:3]) if status[:3].isdecimal() else None
        self._counts = self._counts and self.status not in STATUSES_WITHOUT_BODY
        self._left = declared_bytes(
            (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in headers
        )
        head = self._head() if self._head is not None else None
        if head is not None:
            self.handed.head, self.handed.is_modelled = head.size, True
            self._frames = self.handed.is_framed = head.is_chunked
        return self._counted(write)

    def carry(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        """Return what the server is to send of what the application has returned."""
        wrapper = self._environ.get(_FILE_WRAPPER)
        if (
            isinstance(wrapper, type)
            and isinstance(chunks, wrapper)
            and (size := file_size(chunks, self._left)) is not None
            and self._end_with(chunks)
        ):
            if self._counts:
                self._frame(size)
                self.last()
                self.promise(size)
                if self.add is None:
                    self._find_payer()
            return chunks
        return SizedChunks(self, chunks) if hasattr(chunks, "__len__") else Chunks(self, chunks)

    def end(self) -> None:
        """Note that the application has nothing more to say."""
        self.is_cut = self.is_cut and self._left != 0
        if not self.ended and self.add is None and self._metering.asks_for_heads:
            self._find_payer()
        super().end()

    def count_chunk(self, chunk: object) -> None:
        """Count a chunk that the server takes now."""
        if self._counts:
            try:
                size = len(chunk) if type(chunk) is bytes else size_of(chunk)
            except ValueError as error:
                # The server refuses it.
                self._metering.attribution.complain("a chunk cannot be counted", error)
                return
            if self._left is not None:
                # Servers send no more than a response's length; what is beyond is not HTTP.
                size = min(size, self._left)
                self._left -= size
            if size:
                if self._frames:
                    self._frame(size)
                self.count(size)

    def count(self, size: int) -> None:
        """Count payload."""
        add = self.add
        if add is None:
            self.add = self.hold
            self.hold(size)
            self._find_payer()
        else:
            add(size)

    def last(self) -> None:
        """Note that the application has sent everything."""
        self.is_cut = False
        self._frame_last()

    def _find_payer(self) -> None:
        self.add = self.hold
        payer = self._payer or self._metering.attribution.find_now(self.request())
        if payer is not None and self.is_owed:
            self.bill(payer)

    def _frame(self, size: int) -> None:
        if self._frames:
            self.handed.framing += chunk_bytes(size)

    def _frame_last(self) -> None:
        if self._frames:
            self.handed.framing += LAST_CHUNK_BYTES

    def _counted(self, write: Write) -> Write:
        def counted(data: bytes) -> object:
            self.count_chunk(data)
            return write(data)

        return counted

    def _end_with(self, file: Any) -> bool:  # noqa: ANN401 - a server's own class
        """Have the end of ``file`` end this; return whether it can be had."""
        close = getattr(file, "close", None)

        def closing() -> None:
            # While the server has its socket, the kernel can say what it took of the file.
            self.refresh()
            try:
                if close is not None:
                    close()
            finally:
                self.end()

        try:
            file.close = closing
        except AttributeError:
            return False
        return True
