"""Layers of a stream, and how much is known of each.

``payload`` is what the application sent; ``http`` adds heads, framing and trailers; ``tls`` adds
records and handshakes; ``wire`` adds TCP and IP headers, pure acknowledgements and
retransmissions; ``wire_once`` is ``wire`` without retransmitted bytes, for contracts that leave
the network's faults out. Without TLS, ``tls`` equals ``http``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.metadata import Scalar
from streamgauge.streams.view import RequestView

LAYERS: Final = ("payload", "http", "tls", "wire", "wire_once")
DIRECTIONS: Final = ("egress", "ingress")


class How(StrEnum):
    """How a figure was obtained."""

    MEASURED = "measured"
    """Counted where it happened: by us for payload, by the kernel for everything below."""
    COMPUTED = "computed"
    """Follows exactly from what was counted and from how the server writes."""
    ESTIMATED = "estimated"
    """Follows from a model that may be off; ``docs/reference/metering.md`` says how far."""


class Reading(msgspec.Struct, frozen=True):
    """One layer's bytes.

    Attributes:
        bytes: How many.
        how: How they were obtained.
        final: Whether nothing more will be added or taken back.
    """

    bytes: int
    how: How
    final: bool


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One response, WebSocket or other stream, at all layers.

    Attributes:
        customer_id: Who pays; None: nobody was named.
        metadata: What the bytes are, as in events.
        request: The request, as ``customer=`` sees it; None: there was none, as on plain sockets.
        status: The status that was answered; None: none was.
        session_id: Names the session that was billed; None: there was none.
        connection: The kernel's name (cookie) of the TCP connection; None: it is not known.
        direction: ``egress`` or ``ingress``.
        started_at_ns: When it began, in nanoseconds since 1970.
        done_at_ns: When the application had nothing more to say; ``ended_at_ns`` if it never said.
        ended_at_ns: When this was known.
        is_complete: Whether everything that was handed over arrived.
        payload: What the application sent, or received.
        http: With heads and framing.
        tls: With TLS records.
        wire: With TCP and IP headers, acknowledgements and retransmissions.
        wire_once: The same without retransmitted bytes.
    """

    customer_id: str | None
    metadata: Mapping[str, Scalar]
    request: RequestView | None
    status: int | None
    session_id: str | None
    connection: int | None
    direction: str
    started_at_ns: int
    done_at_ns: int
    ended_at_ns: int
    is_complete: bool
    payload: Reading
    http: Reading
    tls: Reading
    wire: Reading
    wire_once: Reading

    def of(self, layer: str) -> Reading:
        """Return the reading of a layer by name."""
        reading: Reading = getattr(self, layer)
        return reading


def check_layer(layer: object, *, field: str = "layer") -> str:
    """Return ``layer`` if it is one.

    Raises:
        InvalidInputError: It is not.
    """
    if layer not in LAYERS or not isinstance(layer, str):
        raise InvalidInputError(field, layer, f"be one of {', '.join(LAYERS)}")
    return layer


def check_direction(direction: object) -> str:
    """Return ``direction`` if it is one.

    Raises:
        InvalidInputError: It is not.
    """
    if direction not in DIRECTIONS or not isinstance(direction, str):
        raise InvalidInputError("direction", direction, f"be one of {', '.join(DIRECTIONS)}")
    return direction
