"""The middleware for ASGI applications: a ``Response`` of ``asgi`` for every request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from streamgauge.core.clock import Clock
from streamgauge.core.payers import BILLING_KEY
from streamgauge.sdk.ingestion import Ingestion
from streamgauge.streams.asgi import Receive, Response, Send
from streamgauge.streams.attribution import Customer, Metadata
from streamgauge.streams.kernel.connections import Connections
from streamgauge.streams.layers import Measured
from streamgauge.streams.metering import Metered, Metering
from streamgauge.streams.requests import Scope

ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_EXCHANGES: Final = frozenset({"http", "websocket"})


class StreamBytesMiddleware(Metered):
    """Bills the bytes of every response and WebSocket to whom ``bill_to`` or ``customer`` names.

    Put it outermost, where compressed bytes are already compressed; a second one on the same
    request leaves the counting to the first.

    Args:
        app: The ASGI application.
        ingestion: Where to.
        customer: Asked with a view of the request at the first byte of a response that ``bill_to``
            named no customer for: of its payload, or of its head if that is billed or told; may be
            asynchronous, for up to ``CUSTOMER_WAIT_S``. If it raises or takes longer, the response
            is unaffected and billed to nobody.
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
        app: ASGIApp,
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
        self._sends = self._metering.direction == "egress"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, counting what it sends, or what it receives."""
        if scope["type"] not in _EXCHANGES or BILLING_KEY in scope:
            await self._app(scope, receive, send)
            return
        response = Response(self._metering, scope, receive, send)
        scope[BILLING_KEY] = response
        try:
            if self._sends:
                await self._app(scope, response.receive, response.send)
            else:
                await self._app(scope, response.receive_counted, send)
            await response.find_payer_of_head()
        finally:
            response.end()
