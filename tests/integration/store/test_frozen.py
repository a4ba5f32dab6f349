from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamgauge.core.errors import CorruptError, UnsupportedError
from streamgauge.server.store import frozen
from tests.integration.store.conftest import Shelf

LAST = 2**32 - 1


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Have a store in files of this machine; no other one can be frozen."""
    opened = Shelf(f"chdb://{tmp_path / 'engine'}")
    yield opened
    opened.store.close()


class Copy:
    """What a store froze, and a store that is made of it."""

    def __init__(self, shelf: Any, path: Path) -> None:
        path.mkdir()
        self.archive = path.with_suffix(".archive")
        self.archive.mkdir()
        self._path = path
        self.events = shelf.store.freeze("copy", path, self.archive)
        self.parts = [(t.name, p.name) for t in sorted(path.iterdir()) for p in t.iterdir()]

    def put(self, table: str, part: str, into: Path) -> None:
        shutil.copytree(self._path / table / part, into)

    def bring(self, path: Path, events: int | None = None) -> None:
        counted = self.events if events is None else events
        frozen.bring(f"chdb://{path}", self.parts, self.put, counted)


def test_a_frozen_store_is_brought_with_its_rollups(
    shelf: Any, new_meter: Any, tmp_path: Path
) -> None:
    meter = new_meter()
    shelf.insert_values(1, "1", "2")
    shelf.roll_up(meter, 1 << 32 | LAST)
    shelf.insert_values(2, "4")
    copy = Copy(shelf, tmp_path / "copy")
    shelf.insert_values(3, "8")
    shelf.store.close()
    copy.bring(tmp_path / "new")
    brought = type(shelf)(f"chdb://{tmp_path / 'new'}")
    assert sum(row.quantity for row in brought.both_ways(meter)) == 7
    brought.insert_values(3, "16")
    assert sum(row.quantity for row in brought.both_ways(meter)) == 23
    brought.store.close()


def test_a_rollup_that_was_being_filled_is_made_anew(
    shelf: Any, new_meter: Any, tmp_path: Path
) -> None:
    meter = new_meter()
    shelf.insert_values(1, "1", "2")
    shelf.store.plan_rollups([meter], 1 << 32 | LAST)
    rollups = shelf.store._rollups
    (one,) = rollups._filling.values()
    for chunk in rollups._chunks(one):
        rollups._backfill(one, chunk)
    shelf.insert_values(2, "4")
    copy = Copy(shelf, tmp_path / "copy")
    shelf.store.close()
    copy.bring(tmp_path / "new")
    brought = type(shelf)(f"chdb://{tmp_path / 'new'}")
    assert not brought.store.is_rolled_up(meter)
    brought.roll_up(meter, 2 << 32 | LAST)
    assert sum(row.quantity for row in brought.both_ways(meter)) == 7
    rows = brought.store._engine.rows("SELECT DISTINCT rollup_id FROM minutes")
    assert rows == [(one.id + 1,)]
    brought.store.close()


def test_what_was_brought_is_counted(shelf: Any, tmp_path: Path) -> None:
    shelf.insert_values(1, "1", "2")
    copy = Copy(shelf, tmp_path / "copy")
    shelf.store.close()
    with pytest.raises(CorruptError, match="2 events were brought, not 3"):
        copy.bring(tmp_path / "new", events=3)


def test_an_engine_elsewhere_is_not_frozen(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="another server"):
        frozen.bring("clickhouse://host", [], lambda *_: None, 0)
