"""Meters, in Dodo Payments' shapes; the meaning of a meter is in ``server.metering``."""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping

from streamgauge.core.clock import Clock, utc
from streamgauge.core.events import check_text_id
from streamgauge.core.ids import Entropy, new_id
from streamgauge.server.catalog.database import Database
from streamgauge.server.catalog.rows import Rows
from streamgauge.server.catalog.schema import meters
from streamgauge.server.catalog.texts import EVERYTHING, Page, check_description, check_name
from streamgauge.server.metering.filters import FilterNode, read_filter, write_filter
from streamgauge.server.metering.meter import Aggregation, Meter, check_aggregation

_AGGREGATION: Final = msgspec.json.Decoder(Aggregation)
_FILTER: Final = msgspec.json.Decoder(FilterNode)


class NewMeter(msgspec.Struct, frozen=True, kw_only=True):
    """What a meter is made from, as ``POST /meters`` takes it."""

    name: str
    event_name: str
    measurement_unit: str
    aggregation: Aggregation
    description: str | None = None
    filter: FilterNode | None = None


class Meters:
    """The meters of a business."""

    def __init__(
        self, database: Database, business_id: str, *, clock: Clock, entropy: Entropy
    ) -> None:
        self._rows = Rows(database, business_id, meters, key="id", kind="meter")
        self._clock = clock
        self._entropy = entropy

    def create(self, mode: str, new: NewMeter) -> Meter:
        """Make a meter.

        Raises:
            InvalidInputError: A value breaks a rule.
        """
        with self._rows.database.write() as connection:
            return self.create_within(connection, mode, new)

    def create_within(self, connection: Connection, mode: str, new: NewMeter) -> Meter:
        """Make a meter in the caller's transaction; raises as ``create`` does."""
        aggregation = check_aggregation(new.aggregation)
        node = None if new.filter is None else write_filter(read_filter(new.filter))
        now_ns = self._clock.time_ns()
        id = new_id("mtr", time_ns=lambda: now_ns, entropy=self._entropy)
        row = {
            "mode": mode,
            "id": id,
            "name": check_name(new.name, field="name"),
            "event_name": check_text_id(new.event_name, field="event_name"),
            "measurement_unit": check_name(new.measurement_unit, field="measurement_unit"),
            "aggregation": msgspec.json.encode(aggregation).decode(),
            "description": check_description(new.description),
            "filter": None if node is None else msgspec.json.encode(node).decode(),
            "created_at": utc(now_ns),
            "updated_at": utc(now_ns),
        }
        self._rows.insert(connection, row)
        return _meter(self._rows.demand(connection, mode, id))

    def get(self, mode: str, id: str) -> Meter:
        """Return a meter, an archived one too.

        Raises:
            NotFoundError: No meter has this id.
        """
        return _meter(self._rows.get(mode, id))

    def find_within(self, connection: Connection, mode: str, id: str) -> Meter | None:
        """Return a meter, or None, in the caller's transaction."""
        row = self._rows.find(connection, mode, id)
        return None if row is None else _meter(row)

    def list(
        self, mode: str | None = None, *, archived: bool | None = None, page: Page = EVERYTHING
    ) -> list[Meter]:
        """Return meters, oldest first.

        Args:
            mode: Of this mode; of both if None.
            archived: Only archived ones, or only others; both if None.
            page: Which part.
        """
        where = list[ColumnElement[bool]]()
        if archived is not None:
            column = meters.c.archived_at
            where.append(column.is_not(None) if archived else column.is_(None))
        return [_meter(row) for row in self._rows.list(mode, where, page)]

    def update(self, mode: str, id: str, changes: dict[str, str | None]) -> Meter:
        """Change what is named in ``changes``: name, measurement_unit or description.

        Raises:
            InvalidInputError: A value breaks a rule.
            NotFoundError: No meter has this id.
        """
        for field in ("name", "measurement_unit"):
            if field in changes:
                check_name(changes[field] or "", field=field)
        check_description(changes.get("description"))
        return self._change(mode, id, dict(changes))

    def archive(self, mode: str, id: str) -> Meter:
        """Leave a meter out of lists and new prices; its events go on being counted.

        Raises:
            NotFoundError: No meter has this id.
        """
        return self._change(mode, id, {"archived_at": utc(self._clock.time_ns())})

    def unarchive(self, mode: str, id: str) -> Meter:
        """Put a meter back.

        Raises:
            NotFoundError: No meter has this id.
        """
        return self._change(mode, id, {"archived_at": None})

    def _change(self, mode: str, id: str, changes: dict[str, object]) -> Meter:
        with self._rows.database.write() as connection:
            values = changes | {"updated_at": utc(self._clock.time_ns())}
            return _meter(self._rows.update(connection, mode, id, values))


def _meter(row: RowMapping) -> Meter:
    node = row["filter"]
    return Meter(
        id=row["id"],
        business_id=row["business_id"],
        mode=row["mode"],
        name=row["name"],
        event_name=row["event_name"],
        measurement_unit=row["measurement_unit"],
        aggregation=_AGGREGATION.decode(row["aggregation"]),
        description=row["description"],
        filter=None if node is None else read_filter(_FILTER.decode(node)),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        archived_at=row["archived_at"],
    )
