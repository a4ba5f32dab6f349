"""Who pays for what: the part of an event that all bytes of it share."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streamgauge.core.clock import utc
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.events import BYTES_KEY, UsageEvent, check_text_id, encode_event
from streamgauge.core.limits import METADATA_PAIRS_MAX
from streamgauge.core.metadata import canonical_mapping


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """An event name, a customer and metadata; equal ones share events.

    Attributes:
        event_name: What a meter matches.
        customer_id: Who pays.
        metadata: Canonical JSON text by key, keys sorted, without the quantity.
    """

    event_name: str
    customer_id: str
    metadata: dict[str, str]

    def descriptor(self) -> bytes:
        """Return it as bytes, equal exactly when the groups are equal."""
        return msgspec.msgpack.encode(self)

    def body(self, event_id: str, timestamp_ns: int, quantity: int | None) -> bytes:
        """Return one event of this group as it is delivered."""
        metadata = dict(self.metadata)
        if quantity is not None:
            metadata[BYTES_KEY] = str(quantity)
        event = UsageEvent(
            event_id=event_id,
            customer_id=self.customer_id,
            event_name=self.event_name,
            timestamp=utc(timestamp_ns),
            metadata=metadata,
        )
        return encode_event(event)


def checked_group(
    event_name: str, customer_id: object, metadata: Mapping[str, object] | None, *, measured: bool
) -> Group:
    """Return the group of a caller's values; ``measured`` ones get a quantity beside them.

    Raises:
        InvalidInputError: A value breaks a rule.
    """
    texts = canonical_mapping(metadata)
    if measured and BYTES_KEY in texts:
        rule = "not stand beside bytes that are counted: they become this very value"
        raise InvalidInputError(f"metadata.{BYTES_KEY}", (metadata or {})[BYTES_KEY], rule)
    if measured and len(texts) >= METADATA_PAIRS_MAX:
        rule = f"have at most {METADATA_PAIRS_MAX - 1} pairs, since bytes are one more"
        raise InvalidInputError("metadata", len(texts), rule)
    return Group(
        event_name=event_name,
        customer_id=check_text_id(customer_id, field="customer_id"),
        metadata={key: texts[key] for key in sorted(texts)},
    )


def decode_group(descriptor: bytes) -> Group:
    """Return the group of a descriptor.

    Raises:
        msgspec.MsgspecError: It is none.
    """
    return msgspec.msgpack.decode(descriptor, type=Group)
