# ruff: noqa: S608 - Values go through compile.literal; the rest is our own text.
"""What usage is read from: minutes, days and months, kept with every insert, filled from the past.

One view makes minutes of events, for all rollups at once, one days of minutes, one months of days.
A new rollup fixes a cut, a log position: the view takes what is inserted after it, the backfill
what was stored up to it. Definitions are written before the views that follow from them, and views
are made again from them at every start, so a process may die anywhere. Views keep their names:
what the engine remembers of a repeated insert goes by them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from streamgauge.core.errors import UnavailableError
from streamgauge.core.limits import (
    BACKFILL_CHUNK_ROWS,
    ROLLUP_KEY_VALUES_MAX,
    ROLLUP_SAMPLE_ROWS,
)
from streamgauge.server.metering import compile as compiled
from streamgauge.server.metering import rollup_sql as sql
from streamgauge.server.metering.filters import Operator
from streamgauge.server.metering.meter import Meter
from streamgauge.server.metering.rollup import Rollup, Shape, needs, scope
from streamgauge.server.store.archive import Archive
from streamgauge.server.store.chunks import Chunk, chunks
from streamgauge.server.store.engine import Engine
from streamgauge.server.store.schema import INSERT_SETTINGS, SPANS

FILLING: Final = 0
FILLED: Final = 1
RETIRED: Final = 2
_STARTS: Final = {"days": "toStartOfDay", "months": "toStartOfMonth"}

Scope = tuple[str, str, str]


class Rollups:
    """All rollups of a store.

    Args:
        engine: Where they are.
        writing: Held by whoever inserts; views change only while it is held.
        archive: Where older events are.
        follows: Whether another process plans and fills them, and this one only reads.

    Raises:
        UnavailableError: The engine refuses.
    """

    def __init__(
        self, engine: Engine, writing: threading.Lock, archive: Archive, *, follows: bool = False
    ) -> None:
        self._engine = engine
        self._archive = archive
        self._follows = follows
        self._writing = writing
        self._one_fill = threading.Lock()
        self._stopping = threading.Event()
        self._filled = dict[Scope, Rollup]()
        self._filling = dict[Scope, Rollup]()
        self._retired = list[int]()
        self._newest_id = 0
        if follows:
            return
        self._load()
        with writing:
            self._make_views()

    def find(self, meter: Meter) -> Rollup | None:
        """Return the rollup that the usage of ``meter`` can be read from, or None."""
        filled = self._read_filled() if self._follows else self._filled
        found = filled.get(scope(meter))
        if found is None:
            return None
        return found if found.shape.covers(needs(meter, wide=_wide(found.shape))) else None

    def plan(self, meters: Iterable[Meter], cut: int) -> None:
        """Make the rollups that ``meters`` lack; what is inserted from now on is in them.

        Call it only where inserts are made, between them, with everything up to ``cut`` stored and
        nothing after it.

        Raises:
            UnavailableError: The engine refuses; the same call may be made again.
        """
        by_scope = dict[Scope, list[Meter]]()
        for meter in meters:
            by_scope.setdefault(scope(meter), []).append(meter)
        planned = [
            one
            for place, own in by_scope.items()
            if (one := self._planned(place, own, cut)) is not None
        ]
        if not planned:
            return
        with self._writing:
            for one in planned:
                self._note(one, FILLING)
                self._add(self._filling, one)
            self._make_views()
        for one in planned:
            if not self._may_have_events(one):
                self._finish(one)

    def fill(self) -> None:
        """Bring what was stored before their cuts into the rollups that lack it; may take long.

        Inserts go on between its chunks. A chunk that was filled before changes nothing.

        Raises:
            UnavailableError: The engine refuses; the same call may be made again.
        """
        with self._one_fill:
            for one in list(self._filling.values()):
                for chunk in self._chunks(one):
                    with self._writing:
                        if self._stopping.is_set():
                            return
                        if self._filling.get(one.scope) is one:
                            self._backfill(one, chunk)
                self._finish(one)
            while self._retired and not self._stopping.is_set():
                self._remove_rows(self._retired[-1])
                self._retired.pop()

    def stop(self) -> None:
        """Let a running ``fill`` end after its chunk; the next one goes on there."""
        self._stopping.set()

    def _read_filled(self) -> dict[Scope, Rollup]:
        """Return what the process that makes rollups has finished by now."""
        query = f"SELECT id, definition FROM rollups FINAL WHERE state = {FILLED} ORDER BY id"
        found = [
            msgspec.json.decode(definition, type=Rollup)
            for _, definition in self._engine.rows(query)
        ]
        # Of two for one scope the newer one covers the older.
        return {one.scope: one for one in found}

    def _load(self) -> None:
        rows = self._engine.rows("SELECT id, state, definition FROM rollups FINAL")
        for id, state, definition in sorted(rows):
            self._newest_id = id
            if state == RETIRED:
                self._retired.append(id)
            else:
                one = msgspec.json.decode(definition, type=Rollup)
                self._add(self._filled if state == FILLED else self._filling, one)

    def _add(self, to: dict[Scope, Rollup], one: Rollup) -> None:
        """Put ``one`` in the place of what it covers."""
        old = to.get(one.scope)
        to[one.scope] = one
        self._newest_id = max(self._newest_id, one.id)
        if old is not None:
            self._note(old, RETIRED)
            self._retired.append(old.id)

    def _planned(self, place: Scope, meters: Sequence[Meter], cut: int) -> Rollup | None:
        newest = self._filling.get(place) or self._filled.get(place)
        kept = Shape() if newest is None else newest.shape
        wide = _wide(kept)
        if newest is not None and all(kept.covers(needs(one, wide=wide)) for one in meters):
            return None
        candidates = {key for one in meters for key in needs(one).keys} - set(kept.keys)
        wide |= self._measured_wide(place, sorted(candidates))
        shape = kept
        for one in meters:
            shape = shape.plus(needs(one, wide=wide))
        business_id, mode, event_name = place
        return Rollup(
            id=self._newest_id + 1,
            business_id=business_id,
            mode=mode,
            event_name=event_name,
            shape=shape,
            cut=cut,
        )

    def _measured_wide(self, place: Scope, keys: Sequence[str]) -> set[str]:
        """Return the keys that have too many values to be labels, by a sample."""
        if not keys:
            return set()
        try:
            with self._archive.reading() as view:
                found = self._values(str(view.rows(_of(place))), keys)
        except UnavailableError:
            # A start must get on without the archive's files.
            found = self._values(f"events WHERE {_of(place)}", keys)
        return {
            key for key, count in zip(keys, found, strict=True) if count > ROLLUP_KEY_VALUES_MAX
        }

    def _values(self, rows: str, keys: Sequence[str]) -> list[int]:
        """Return about how many values each key has in some of ``rows``."""
        counts = ", ".join(f"uniq({compiled.property_of(key)})" for key in keys)
        sample = f"SELECT metadata FROM {rows} LIMIT {ROLLUP_SAMPLE_ROWS}"
        ((*found,),) = self._engine.rows(f"SELECT {counts} FROM ({sample})")
        return found

    def _may_have_events(self, one: Rollup) -> bool:
        """Return whether ``fill`` has something to bring, or must tell why it cannot."""
        try:
            with self._archive.reading() as view:
                return bool(self._engine.rows(f"SELECT 1 FROM {view.rows(_before(one))} LIMIT 1"))
        except UnavailableError:
            return True

    def _finish(self, one: Rollup) -> None:
        """Read from ``one`` from now on, and let go of what it replaces."""
        with self._writing:
            if self._filling.get(one.scope) is not one:
                return
            self._note(one, FILLED)
            del self._filling[one.scope]
            replaces = one.scope in self._filled
            self._add(self._filled, one)
            if replaces:
                self._make_views()

    def _note(self, one: Rollup, state: int) -> None:
        definition = compiled.literal(msgspec.json.encode(one).decode())
        self._engine.define(f"INSERT INTO rollups VALUES ({one.id}, {state}, {definition})")

    def _remove_rows(self, id: int) -> None:
        for table in SPANS:
            if self._engine.rows(f"SELECT 1 FROM {table} WHERE rollup_id = {id} LIMIT 1"):
                self._engine.define(f"ALTER TABLE {table} DELETE WHERE rollup_id = {id}")

    def _make_views(self) -> None:
        live = sorted((*self._filled.values(), *self._filling.values()), key=lambda one: one.id)
        for span in SPANS:
            self._engine.define(f"DROP VIEW IF EXISTS to_{span} SYNC")
        if not live:
            return
        added = ", ".join(
            f"ADD COLUMN IF NOT EXISTS {column.name} {column.type} CODEC(ZSTD(1))"
            for column in sql.columns(live)
        )
        for span in SPANS:
            self._engine.define(f"ALTER TABLE {span} {added}")
        # The longest spans first, so that no view ever feeds a table without its own.
        for place in reversed(range(len(SPANS))):
            span = SPANS[place]
            query = (
                sql.coarser(live, SPANS[place - 1], _STARTS[span]) if place else sql.minutes(live)
            )
            self._engine.define(f"CREATE MATERIALIZED VIEW to_{span} TO {span} AS {query}")

    def _chunks(self, one: Rollup) -> list[Chunk]:
        """Return the same until all are filled: rows up to a cut never change."""
        with self._archive.reading() as view:
            return chunks(self._engine, view.rows(_before(one)), BACKFILL_CHUNK_ROWS)

    def _backfill(self, one: Rollup, chunk: Chunk) -> None:
        where = f"{_before(one)} AND {chunk.condition}"
        settings = INSERT_SETTINGS | {
            "insert_deduplication_token": f"fill:{one.id}:{one.cut}:{chunk.month}:{chunk.up_to}",
            "insert_select_deduplicate": 1,
        }
        clause = ", ".join(f"{name} = {compiled.literal(str(to))}" for name, to in settings.items())
        names = ", ".join(column.name for column in sql.columns([one]))
        with self._archive.reading() as view:
            rows = str(view.rows(where, start=chunk.start, end=chunk.end))
            # The order makes the blocks of a repeat the same ones.
            self._engine.define(
                f"INSERT INTO minutes (rollup_id, customer_id, minute, labels, {names}) "
                f"SETTINGS {clause} {sql.minutes([one], backfill=rows)} "
                "ORDER BY rollup_id, customer_id, minute, labels"
            )


def _wide(shape: Shape) -> set[str]:
    """Return the keys that were found to have too many values when the shape was made."""
    equal = {Operator.EQUALS, Operator.NOT_EQUALS}
    return {one.key for one in shape.conditions if one.operator in equal}


def _of(place: Scope) -> str:
    columns = ("business_id", "mode", "event_name")
    return " AND ".join(
        f"{column} = {compiled.literal(text)}" for column, text in zip(columns, place, strict=True)
    )


def _before(one: Rollup) -> str:
    return f"{_of(one.scope)} AND log_position <= {one.cut}"
