"""Archived events: every answer is as before, and the files are Parquet."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest

from streamgauge.core.errors import (
    ConfigurationError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from streamgauge.server.metering.filters import Condition, Conjunction, Filter, Operator
from streamgauge.server.metering.forgetting import Forget
from streamgauge.server.store import frozen
from streamgauge.server.store.segments import log_position
from tests.integration.store.archiving import APRIL, LAST, MONTHS, SCOPE, Store


@pytest.fixture
def meters(new_meter: Any) -> list[Any]:
    hd = Filter(
        conjunction=Conjunction.AND,
        clauses=(Condition(key="quality", operator=Operator.EQUALS, value="hd"),),
    )
    return [new_meter(filter=hd), new_meter(), new_meter("unique")]


def test_every_answer_is_as_before_and_stays_so_after_a_start(
    store: Store, meters: list[Any]
) -> None:
    rolled = meters[1]
    store.roll_up(rolled, log_position(2, LAST))
    before, usage = store.everything(*meters), store.usage(rolled, group_by=["quality"])
    assert store.archive() == [24, 24, 24]
    assert store.in_engine() == 24
    assert [name[:14] for name in store.files()] == [f"events-{month}" for month in MONTHS[:3]]
    assert store.everything(*meters) == before
    # A late event of an archived month, and one whose id was archived, which only ingest refuses.
    store.late(5, "late-1", "late-2")
    late = store.everything(*meters)
    assert late[0] != before[0]
    assert store.archive(4) == []
    february = store.files()[1]
    assert (store.archive(5), store.in_engine()) == ([2], 24)
    # Small files of a month become one.
    assert (len(store.files()), february in store.files()) == (3, False)
    assert store.everything(*meters) == late
    # The last month too: then the engine has none, and knows how far it was.
    assert store.archive(5, datetime(2026, 5, 1, tzinfo=UTC)) == [24]
    assert (store.in_engine(), store.store.newest_segment()) == (0, 5)
    assert store.everything(*meters) == late
    store.reopen()
    assert store.everything(*meters) == late
    assert store.usage(rolled, group_by=["quality"]) != usage
    assert store.both_ways(rolled, group_by=["quality"])


def test_a_meter_that_is_made_later_is_filled_from_the_archive(
    store: Store, meters: list[Any]
) -> None:
    store.archive()
    expected = [store.usage(meter, up_to=2**63, bucket="day") for meter in meters]
    store.store.plan_rollups(meters, log_position(4, LAST))
    store.store.fill_rollups()
    store.late(5, "behind-the-cut")
    store.archive(5)
    for meter, before in zip(meters, expected, strict=True):
        now = store.both_ways(meter, bucket="day")
        assert [row for row in now if row.customer_id != "cus_1"] == before


def test_the_files_are_parquet_with_exact_types(store: Store) -> None:
    expected = store.store.events(**SCOPE, limit=1000)
    store.archive()
    # Another process, with its own engine, which knows nothing of ours.
    read = (
        "import sys, chdb; path = sys.argv[1].replace(chr(39), chr(39) * 2);"
        'print(chdb.query(f"SELECT event_id, customer_id, toString(timestamp), '
        "toString(log_position), metadata, toTypeName(metadata) "
        "FROM file('{path}/*.parquet', Parquet) ORDER BY timestamp DESC\", "
        "'JSONCompactEachRow'), end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", read, str(store.directory)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows == [
        [
            event.event_id,
            event.customer_id,
            f"{event.timestamp:%Y-%m-%d %H:%M:%S.%f}",
            str(event.log_position),
            event.metadata,
            "Map(String, String)",
        ]
        for event in expected
        if event.timestamp < APRIL
    ]
    for path in store.directory.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_missing_or_damaged_gives_no_number(store: Store, meters: list[Any]) -> None:
    store.roll_up(meters[1], log_position(4, LAST))
    usage = store.usage(meters[1])
    store.archive()
    february = store.directory / store.files()[1]
    content = february.read_bytes()
    april = {"start": datetime(2026, 4, 1, tzinfo=UTC), "up_to": 2**63}
    everywhere = {"end": datetime(2026, 3, 1, tzinfo=UTC), "up_to": 2**63}
    for damage in (None, content[:-1], content[:500] + bytes(100) + content[600:]):
        february.unlink()
        if damage is not None:
            february.write_bytes(damage)
        with pytest.raises(UnavailableError) as raised:
            store.usage(meters[1], **everywhere)
        assert str(store.path) not in str(raised.value)
        with pytest.raises(UnavailableError):
            store.store.event("2026-02/2", **SCOPE)
        assert "archived events of 2026-02 cannot be read" in str(raised.value)
        # What needs it not is answered.
        assert store.usage(meters[1]) == usage
        assert store.usage(meters[1], **april)
        assert len(store.store.events(**SCOPE, limit=24)) == 24
        february.write_bytes(content)
    assert store.usage(meters[1], **everywhere)


class Held:
    """Somebody reads by the state of this instant."""

    def __init__(self, store: Store) -> None:
        self._reading = store.store._archive.reading()

    def __enter__(self) -> Self:
        self.view = self._reading.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._reading.__exit__(None, None, None)


def test_what_a_query_reads_stays_until_it_has_ended(store: Store) -> None:
    counted = set[int]()
    archiving_thread = threading.Thread(target=store.archive)
    with Held(store) as held:
        archiving_thread.start()
        while store.store.archived.generation == 0:
            time.sleep(0.01)
        rows = held.view.rows("1")
        assert store.store._engine.rows(f"SELECT count() FROM {rows}") == [(96,)]
        assert store.store.count() == 96
        rule = Forget(**SCOPE, customer_id="cus_1é", kept={})
        assert not store.store.forget(rule, 2**63)
    while archiving_thread.is_alive():
        counted.add(len(store.store.events(**SCOPE, limit=1000)))
    assert (counted, store.in_engine()) == ({96}, 24)
    position = log_position(4, LAST)
    with Held(store) as held:
        files = store.files()
        while not store._archived_forgotten(rule, position):
            time.sleep(0.01)
        assert set(files) < set(store.files())
        assert not store.store.forget(rule, position)
        source = held.view.rows("customer_id = 'cus_1é' AND mapContains(metadata, 'bytes')")
        assert store.store._engine.rows(f"SELECT count() FROM {source}") == [(24,)]
    # A file a call: two are done, one is left, and the last call finds nothing to do.
    assert [store.store.forget(rule, position) for _ in range(2)] == [False, True]
    assert not set(files) & set(store.files())


def test_a_frozen_store_has_its_archive(store: Store, new_meter: Any, tmp_path: Path) -> None:
    meter = new_meter()
    store.archive()
    store.late(5, "late")
    before = store.everything(meter)
    copy, files = tmp_path / "copy", tmp_path / "new" / store.directory.name
    for path in (copy, files.parent, files):
        path.mkdir(mode=0o700)
    events = store.store.freeze("copy", copy, files)
    assert events == 97
    store.archive(5)
    store.store.close()
    parts = [(t.name, p.name) for t in sorted(copy.iterdir()) for p in t.iterdir()]
    put = lambda table, part, into: (copy / table / part).rename(into)  # noqa: E731
    frozen.bring(f"chdb://{files.parent / 'engine'}", parts, put, events)
    store.path, store._dsn = files.parent, f"chdb://{files.parent / 'engine'}"
    store.open()
    assert store.everything(meter) == before
    store.check_settled()


def test_where_there_can_be_no_archive_it_is_said(store: Store) -> None:
    position = log_position(4, LAST)
    odd = store.path / "a{b}"
    odd.mkdir(mode=0o700)
    store.store._archive.directory = odd
    with pytest.raises(ConfigurationError, match=r"must hold no \{ and no \}"):
        store.store.archiver.step(APRIL, position)
    store.store._archive.directory = None
    with pytest.raises(UnsupportedError, match="another server's engine"):
        store.store.archiver.step(APRIL, position)
    with pytest.raises(NotFoundError):
        store.store.event("nobody", **SCOPE)
