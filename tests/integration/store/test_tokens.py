"""A death between the engine's note of a part and the part: the repeat must be inserted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from streamgauge.server.store import EventStore, tokens
from tests.integration.store.conftest import Shelf

TABLES = ("events", "minutes", "days", "months")


@pytest.fixture
def shelf(tmp_path: Path) -> Any:
    opened = Shelf(f"chdb://{tmp_path / 'engine'}")
    yield opened
    opened.remove()


def rows(shelf: Shelf, segment: int) -> list[dict[str, Any]]:
    return [
        shelf.row(
            f"{segment}-{month}", timestamp=f"2026-0{month}-01T00:00:00Z", metadata={"bytes": "7"}
        )
        for month in (1, 2, 3)
    ]


def newest_parts(store: EventStore, partition: str) -> list[Path]:
    """Return the directories of what the last insert made in a partition of every table."""
    found = store._engine.rows(
        "SELECT argMax(path, min_block_number) FROM system.parts WHERE active "
        f"AND database = 'streamgauge' AND partition = '{partition}' GROUP BY table ORDER BY table"
    )
    return [Path(path) for (path,) in found]


def everywhere(shelf: Shelf, meter: Any) -> list[Any]:
    """Return usage as minutes, days, months and the events have it."""
    return [shelf.both_ways(meter, bucket=bucket) for bucket in ("hour", "day", "month")]


@pytest.mark.parametrize("died", range(len(TABLES)))
def test_the_repeat_of_an_insert_whose_part_never_came_to_be_is_taken(
    shelf: Shelf, new_meter: Any, died: int
) -> None:
    meter = new_meter()
    shelf.roll_up(meter, 0)
    shelf.store._engine.define("SYSTEM STOP MERGES")
    for segment in (1, 2):
        shelf.insert(segment, *rows(shelf, segment))
    parts = newest_parts(shelf.store, "202602")
    assert len(parts) == len(TABLES)
    whole = everywhere(shelf, meter)
    shelf.store.close()
    shutil.rmtree(parts[died])
    shelf.open()
    for segment in (1, 2):
        shelf.insert(segment, *rows(shelf, segment))
    assert everywhere(shelf, meter) == whole
    assert shelf.store.count() == 6
    shelf.reopen()
    shelf.insert(2, *rows(shelf, 2))
    assert everywhere(shelf, meter) == whole


def test_merged_and_dropped_parts_are_no_lost_ones(shelf: Shelf, new_meter: Any) -> None:
    shelf.roll_up(new_meter(), 0)
    for segment in range(1, 6):
        shelf.insert(segment, *rows(shelf, segment))
    for table in TABLES:
        shelf.store._engine.define(f"OPTIMIZE TABLE {table} FINAL")
    shelf.store._engine.define("ALTER TABLE events DROP PARTITION 202601")
    shelf.store._engine.define("ALTER TABLE events DELETE WHERE 1 SETTINGS mutations_sync = 1")
    shelf.store.close()
    lost = tokens.take_back(Path(shelf._dsn.removeprefix("chdb://")))
    shelf.open()
    assert lost == []


def test_a_line_that_was_never_finished_is_cut_off(tmp_path: Path) -> None:
    logs = tmp_path / "store/abc/abc-1/deduplication_logs"
    logs.mkdir(parents=True)
    (logs.parent / "202601_1_4_1").mkdir()
    (logs / "deduplication_log_9.txt").write_text("1\t202601_2_2_0\ta\n")
    last = logs / "deduplication_log_10.txt"
    last.write_text("1\t202601_5_5_0\tb\n1\t202601_6_6_0\tc\n2\t202601_6_6_0\tc\n1\t2026")
    assert tokens.take_back(tmp_path) == ["202601_5_5_0"]
    assert last.read_text().endswith("c\n2\t202601_5_5_0\tb\n")
    assert tokens.take_back(tmp_path) == []


def test_of_a_long_log_the_end_is_looked_at_whatever_file_it_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = tmp_path / "store/abc/abc-1/deduplication_logs"
    logs.mkdir(parents=True)
    for part in ("202601_1_8_3", "202601_3_4_1", "202601_12_15_1", "202602_10_10_0"):
        (logs.parent / part).mkdir()
    lines = [f"1\t202601_{block}_{block}_0\ttoken {block}\n" for block in range(20)]
    (logs / "deduplication_log_1.txt").write_text("".join(lines[:10]))
    (logs / "deduplication_log_2.txt").write_text("".join(lines[10:]))
    monkeypatch.setattr(tokens, "_END_BYTES", len("".join(lines[6:])) + 5)
    assert tokens.take_back(tmp_path) == [
        f"202601_{block}_{block}_0" for block in (9, 10, 11, 16, 17, 18, 19)
    ]
