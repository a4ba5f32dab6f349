"""What a middleware is told once: which bytes are billed, which are told, and to whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streamgauge.core.clock import Clock, SystemClock
from streamgauge.core.errors import InvalidInputError
from streamgauge.sdk.ingestion import Ingestion
from streamgauge.streams.attribution import Attribution, Customer, Metadata
from streamgauge.streams.kernel.connections import Connections
from streamgauge.streams.layers import Measured, check_direction, check_layer


class Metering:
    """The choices of one middleware and what its exchanges share.

    Args:
        ingestion: Where to.
        customer: Says who pays where nobody was named otherwise.
        metadata: What the bytes are.
        layer: Which bytes are billed.
        direction: ``egress``, what is sent, or ``ingress``, what is received.
        layers_told: Layers whose bytes stand in the metadata of events, as ``sg_LAYER_bytes``.
        on_measured: Called with every exchange when its figures are final; from any thread.
        connections: Shared by middlewares of one process; one is made if none is given.
        clock: Says when exchanges begin, and spaces log lines.

    Raises:
        InvalidInputError: A value breaks a rule.
    """

    def __init__(  # noqa: PLR0913 - choices, each with a default.
        self,
        ingestion: Ingestion,
        *,
        customer: Customer | None = None,
        metadata: Metadata | None = None,
        layer: str = "payload",
        direction: str = "egress",
        layers_told: Sequence[str] = (),
        on_measured: Callable[[Measured], None] | None = None,
        connections: Connections | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.layer = check_layer(layer)
        self.direction = check_direction(direction)
        if isinstance(layers_told, str):
            raise InvalidInputError("layers_told", layers_told, "be a list of layers")
        self.layers_told = tuple(check_layer(one, field="layers_told") for one in layers_told)
        self.on_measured = on_measured
        # Heads without a body are billed or told, so they need a payer too.
        self.asks_for_heads = on_measured is not None or any(
            one != "payload" for one in (self.layer, *self.layers_told)
        )
        self.connections = connections or Connections(self.clock)
        self.attribution = Attribution(
            ingestion,
            customer=customer,
            metadata=metadata,
            layers_told=self.layers_told,
            clock=self.clock,
        )

    def tell(self, measured: Measured) -> None:
        """Hand a final record to whoever asked for it; a failure of theirs is counted."""
        if self.on_measured is not None:
            try:
                self.on_measured(measured)
            except Exception as error:  # noqa: BLE001 - the caller's function; the stream goes on
                self.attribution.complain("on_measured= failed", error)


class Metered:
    """A middleware, in so far as it has a metering and says how much it could not bill."""

    def __init__(self, metering: Metering) -> None:
        self._metering = metering
        self.attribution = metering.attribution

    @property
    def unattributed_bytes(self) -> int:
        """Return the bytes that were counted and are billed to nobody."""
        return self.attribution.unattributed_bytes

    @property
    def failures(self) -> int:
        """Return how often a customer could not be found out or billed."""
        return self.attribution.failures
