"""Who pays for what: the part of an event that all bytes of it share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from streamgauge.core.clock import utc
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.events import BYTES_KEY, UsageEvent, check_text_id, encode_event
from streamgauge.core.limits import METADATA_PAIRS_MAX
from streamgauge.core.metadata import canonical_mapping

LAYER_KEY: Final = "sg_{}_bytes"
"""Metadata key of what a layer carried, beside the layer that is billed."""

_PLAIN_HEAD: Final = 0x83
"""The first byte of a descriptor without a layer: a map of three, since defaults are left out."""


class Group(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An event name, a customer and metadata; equal ones share events.

    Attributes:
        event_name: What a meter matches.
        customer_id: Who pays.
        metadata: Canonical JSON text by key, keys sorted, without the quantity.
        layer: Empty for the bytes that are billed; else the layer of bytes that are only told.
    """

    event_name: str
    customer_id: str
    metadata: dict[str, str]
    layer: str = ""

    def of_layer(self, layer: str) -> Group:
        """Return the group of the same events, for the bytes of a layer; empty: what is billed."""
        return self if layer == self.layer else msgspec.structs.replace(self, layer=layer)

    def descriptor(self) -> bytes:
        """Return it as bytes, equal exactly when the groups are equal."""
        # The encoder's result sits in a buffer cut short, whose rest nobody else can use.
        return bytes(memoryview(msgspec.msgpack.encode(self)))

    def body(
        self,
        event_id: str,
        timestamp_ns: int,
        quantity: int | None,
        layers: Mapping[str, int] | None = None,
    ) -> bytes:
        """Return one event of this group as it is delivered."""
        metadata = dict(self.metadata)
        for layer, size in (layers or {}).items():
            metadata[LAYER_KEY.format(layer)] = str(size)
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
    event_name: str,
    customer_id: object,
    metadata: Mapping[str, object] | None,
    *,
    measured: bool,
    layers: Sequence[str] = (),
) -> Group:
    """Return the group of a caller's values.

    Args:
        event_name: What a meter matches.
        customer_id: Who pays.
        metadata: What the bytes are.
        measured: A quantity goes beside the metadata.
        layers: So do the bytes of these layers.

    Raises:
        InvalidInputError: A value breaks a rule.
    """
    texts = canonical_mapping(metadata)
    counted = [BYTES_KEY, *map(LAYER_KEY.format, layers)] if measured else []
    for key in counted:
        if key in texts:
            rule = "not stand beside bytes that are counted: they become this very value"
            raise InvalidInputError(f"metadata.{key}", (metadata or {})[key], rule)
    if len(texts) + len(counted) > METADATA_PAIRS_MAX:
        more = "bytes are one more" if not layers else f"counted bytes are {len(counted)} more"
        rule = f"have at most {METADATA_PAIRS_MAX - len(counted)} pairs, since {more}"
        raise InvalidInputError("metadata", len(texts), rule)
    return Group(
        event_name=event_name,
        customer_id=check_text_id(customer_id, field="customer_id"),
        metadata={key: texts[key] for key in sorted(texts)},
    )


def split_layer(descriptor: bytes) -> tuple[bytes, str]:
    """Return the descriptor of the same events without a layer, and the layer."""
    if descriptor[0] == _PLAIN_HEAD:
        return descriptor, ""
    group = decode_group(descriptor)
    return group.of_layer("").descriptor(), group.layer


def decode_group(descriptor: bytes) -> Group:
    """Return the group of a descriptor.

    Raises:
        msgspec.MsgspecError: It is none.
    """
    return msgspec.msgpack.decode(descriptor, type=Group)
