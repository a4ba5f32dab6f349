"""What stays of the metadata of a forgotten customer's events, in Python and in SQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from streamgauge.server.metering import compile as compiled
from streamgauge.server.metering.meter import Meter
from streamgauge.server.metering.rollup import needs

MARK: Final = "streamgauge_forgotten"
"""The key, with the value true, that stored events have in the place of what was removed."""
_ENCODE: Final = msgspec.json.Encoder().encode
_Fields = dict[str, msgspec.Raw]
_FIELDS: Final = msgspec.json.Decoder(_Fields)


class Forget(msgspec.Struct, frozen=True, kw_only=True):
    """Whose events lose their metadata, and what of it stays.

    Attributes:
        business_id: Whose customer.
        mode: ``test_mode`` or ``live_mode``.
        customer_id: Whose events.
        kept: Metadata keys that meters measure or filter by, by event name: what bills depend on.
    """

    business_id: str
    mode: str
    customer_id: str
    kept: Mapping[str, tuple[str, ...]]

    def record(self, record: bytes) -> bytes:
        """Return a record of the log with nothing of the customer's beyond what stays."""
        if _inside(self.customer_id) not in record:
            return record
        head, *lines = record.splitlines()
        scope = _FIELDS.decode(head)
        if self._is_other(scope):
            return record
        return b"\n".join([head, *(self._event(line) for line in lines), b""])

    def row(self, line: bytes) -> bytes:
        """Return a numbered row, as the store gets it, the same way; others as they are."""
        if _inside(self.customer_id) not in line:
            return line
        try:
            fields = _FIELDS.decode(line)
        except msgspec.DecodeError:
            return line
        return line if self._is_other(fields) else self._event(line)

    def _is_other(self, fields: _Fields) -> bool:
        own = {"business_id": self.business_id, "mode": self.mode}
        return any(_text(fields.get(name)) != text for name, text in own.items())

    def _event(self, line: bytes) -> bytes:
        fields = _FIELDS.decode(line)
        if _text(fields["customer_id"]) != self.customer_id:
            return line
        pairs = _FIELDS.decode(fields["metadata"])
        kept = self.kept.get(_text(fields["event_name"]) or "", ())
        staying = {key: value for key, value in pairs.items() if key in kept}
        if staying == pairs:
            return line
        # No mark: what a log holds instead must never be longer.
        return _ENCODE(fields | {"metadata": msgspec.Raw(_ENCODE(staying))})

    def condition(self, up_to: int) -> str:
        """Return the SQL predicate of the events up to a log position that hold more."""
        return (
            f"business_id = {compiled.literal(self.business_id)} "
            f"AND mode = {compiled.literal(self.mode)} "
            f"AND customer_id = {compiled.literal(self.customer_id)} "
            f"AND log_position <= {up_to} AND arrayExists(key -> key != '{MARK}' "
            f"AND NOT has({self._kept()}, key), mapKeys(metadata))"
        )

    def staying(self) -> str:
        """Return the SQL of the metadata that stays."""
        kept = f"mapFilter((key, value) -> has({self._kept()}, key), metadata)"
        return f"mapConcat({kept}, map('{MARK}', 'true'))"

    def _kept(self) -> str:
        branches = [
            f"event_name = {compiled.literal(name)}, [{', '.join(map(compiled.literal, keys))}]"
            for name, keys in sorted(self.kept.items())
            if keys
        ]
        nothing = "CAST([] AS Array(String))"
        return f"multiIf({', '.join(branches)}, {nothing})" if branches else nothing


def keys_of_meters(meters: Iterable[Meter]) -> dict[str, tuple[str, ...]]:
    """Return the metadata keys that meters measure or filter by, by event name."""
    found = defaultdict[str, set[str]](set)
    for meter in meters:
        shape = needs(meter)
        conditions = (one.key for one in shape.conditions)
        found[meter.event_name].update(shape.keys, conditions, shape.numbers, shape.uniques)
    return {name: tuple(sorted(keys)) for name, keys in sorted(found.items())}


def _inside(id: str) -> bytes:
    return _ENCODE(id)


def _text(raw: msgspec.Raw | None) -> str | None:
    value = None if raw is None else msgspec.json.decode(raw)
    return value if isinstance(value, str) else None
