"""Archived events: every answer is as before, whatever dies in between, and files are Parquet."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
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
from streamgauge.server import archived as states
from streamgauge.server.metering.filters import Condition, Conjunction, Filter, Operator
from streamgauge.server.metering.forgetting import Forget
from streamgauge.server.store import EventStore, archiving, frozen
from streamgauge.server.store.segments import log_position
from tests.integration.store.conftest import Shelf

LAST = 2**32 - 1
SCOPE = {"business_id": "bus_1", "mode": "test_mode"}
MONTHS = ("2026-01", "2026-02", "2026-03", "2026-04")
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
QUALITIES = ("hd", "sd", 'a"b\\c{x}', "")


class Store(Shelf):
    """A store in files of this machine, with an archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"chdb://{path / 'engine'}")

    def open(self) -> None:
        self.store = EventStore(self._dsn, query_clients=2, archive=self.path / "archive")

    def fill(self) -> None:
        """Insert a segment for each month, of three customers, with texts of every kind."""
        for segment, month in enumerate(MONTHS, 1):
            rows = []
            for number in range(24):
                metadata = {"bytes": str(10**30 + number) if number % 5 else "1.25"}
                if quality := QUALITIES[number % 4]:
                    metadata["quality"] = json.dumps(quality)
                at = f"{month}-{number + 1:02d}T00:00:{number:02d}.{number:06d}Z"
                id = f"{segment:032x}-{number}" if number % 2 else f"{month}/{number}"
                customer = f"cus_{number % 3}é"
                rows.append(self.row(id, timestamp=at, customer_id=customer, metadata=metadata))
            self.insert(segment, *rows)

    def late(self, segment: int, *ids: str, at: str = "2026-02-07T00:00:00Z") -> None:
        rows = [self.row(id, timestamp=at, metadata={"bytes": "7"}) for id in ids]
        self.insert(segment, *rows)

    def archive(self, segment: int = 4, before: datetime = APRIL) -> list[int]:
        """Archive all there is up to a segment, and return how many events each step took."""
        steps = iter(lambda: self.store.archiver.step(before, log_position(segment, LAST)), 0)
        return list(steps)

    def _archived_forgotten(self, rule: Forget, position: int) -> bool:
        self.store.forget(rule, position)
        names = [file.name for file in self.store.archived.files]
        return any("000004" in name for name in names)

    def in_engine(self) -> int:
        ((count,),) = self.store._engine.rows("SELECT count() FROM events")
        return int(count)

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.path / "archive").glob("events-*"))

    def briefly(self, meter: Any) -> Any:
        """Return an answer of every kind."""
        listed = self.store.events(**SCOPE, limit=1000)
        return listed, self.usage(meter, up_to=2**63, bucket="day"), self.store.newest_segment()

    def everything(self, *meters: Any) -> Any:
        """Return every answer that comes from raw events."""
        ask: Any = self.store.events
        january = datetime(2026, 1, 3, 12, tzinfo=UTC)
        listed = ask(**SCOPE, limit=1000)
        told: list[Any] = [listed]
        told += [ask(**SCOPE, limit=5, offset=offset) for offset in (0, 20, 90)]
        told += [
            ask(**SCOPE, limit=50, **narrow)
            for narrow in (
                {"customer_id": "cus_1é"},
                {"customer_id": "cus_9"},
                {"event_name": "other"},
                {"start": january, "end": datetime(2026, 3, 2, tzinfo=UTC)},
                {"end": datetime(2026, 2, 1, tzinfo=UTC)},
                {"start": datetime(1, 1, 1, tzinfo=UTC), "end": datetime(9999, 1, 1, tzinfo=UTC)},
                {"after": log_position(2, 7), "up_to": log_position(4, 3)},
                {"after": log_position(4, LAST)},
                {"meter": meters[0]},
            )
        ]
        told += [self.store.event(e.event_id, **SCOPE) for e in listed[::17]]
        for meter in meters:
            for narrow in (
                {"by_customer": True},
                {"customer_id": "cus_2é", "group_by": ["quality"], "bucket": "day"},
                {"start": january.replace(hour=0), "by_customer": False},
                {"start": datetime(2026, 4, 3, tzinfo=UTC), "bucket": "month"},
            ):
                told.append(self.usage(meter, up_to=2**63, **narrow))
        told.append(sorted(map(repr, self.store.writer_runs())))
        told.append(
            sorted(id for b in self.store.foreign_ids() for ids in b.values() for id in ids)
        )
        return [*told, self.store.newest_segment(), self.store.count()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    opened.fill()
    yield opened
    opened.store.close()


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
        'import sys, chdb; print(chdb.query("SELECT event_id, customer_id, toString(timestamp), '
        "toString(log_position), metadata, toTypeName(metadata) FROM file('\" + sys.argv[1] + "
        "\"/*.parquet', Parquet) ORDER BY timestamp DESC\", 'JSONCompactEachRow'), end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", read, str(store.path / "archive")],
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
    for path in (store.path / "archive").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


class Dying:
    """Dies before the call of a number, of all that change something."""

    def __init__(self, patch: pytest.MonkeyPatch, store: Store, at: int) -> None:
        self.calls = 0
        self._at = at
        engine = store.store._engine
        for owner, name in (
            (engine, "run"),
            (engine, "define"),
            (engine, "insert"),
            (archiving.parquet, "copied"),
            (archiving.parquet, "_sync"),
            (archiving.parquet.os, "rename"),
            (Path, "rename"),
            (Path, "unlink"),
        ):
            patch.setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls == self._at:
                raise UnavailableError("it died")
            return call(*args, **named)

        return wrapped


def dies(store: Store, at: int, do: Callable[[], object]) -> bool:
    """Return whether it died at a call of this number; what is left is what a new process finds."""
    with pytest.MonkeyPatch.context() as patch:
        dying = Dying(patch, store, at)
        with contextlib.suppress(UnavailableError):
            do()
    archive = store.store._archive
    archive.state = states.Archived()
    archive.load()
    return dying.calls >= at


def settled(store: Store) -> None:
    """Fail if anything is left that nobody reads."""
    directory, state = store.path / "archive", store.store.archived
    assert states.read(directory) == state
    assert states.leftovers(directory, state) == states.missing(directory, state) == []
    assert list(states.damaged(directory, state)) == []
    assert store.in_engine() + state.rows == store.store.count()


@pytest.mark.parametrize("stays", [False, True])
def test_a_death_at_any_step_changes_no_answer(store: Store, new_meter: Any, stays: bool) -> None:
    """A whole month is dropped from the engine, or late events are taken out of one that stays."""
    meter = new_meter()
    store.archive()
    for at in itertools.count(1):
        day = f"2026-{'04' if stays else '02'}-{at:02d}T08:00:00Z"
        store.late(4 + at, f"{at}", f"{at + 99:032x}-1", at=day)
        if stays:
            # Behind the log position up to which anything is archived.
            store.late(400 + at, f"hot-{at}", at=day)
        before = store.briefly(meter)
        do = lambda at=at: store.archive(4 + at, datetime(2026, 5, 1, tzinfo=UTC))  # noqa: E731
        died = dies(store, at, do)
        assert store.briefly(meter) == before
        do()
        assert store.briefly(meter) == before
        settled(store)
        assert store.in_engine() == (at if stays else 24 * (store.store.archived.before == APRIL))
        if not died:
            break
    assert at > 7


def test_a_customer_is_forgotten_in_files_whatever_dies(store: Store, new_meter: Any) -> None:
    meter = new_meter()
    for at in itertools.count(1):
        customer, month = f"cus_{at:02d}", f"2026-0{at % 3 + 1}"
        rows = [
            store.row(
                f"{customer}-{day}",
                customer_id=customer,
                timestamp=f"{month}-{day}T00:00:00Z",
                metadata={"bytes": "5", "address": f'"{customer} lives here"'},
            )
            for day in (10, 11)
        ]
        store.insert(4 + at, *rows, store.row(f"other-{at}", metadata={"address": '"stays"'}))
        store.archive(4 + at)
        rule = Forget(**SCOPE, customer_id=customer, kept={"stream": ("bytes",)})
        do = lambda at=at, rule=rule: store.store.forget(rule, log_position(4 + at, LAST))  # noqa: E731
        usage, listed = store.usage(meter, up_to=2**63), store.store.events(**SCOPE, limit=1000)
        died = dies(store, at, do)
        assert store.usage(meter, up_to=2**63) == usage
        assert do()
        kept = store.store.events(**SCOPE, limit=1000)
        mark = {"bytes": "5", "streamgauge_forgotten": "true"}
        for old, new in zip(listed, kept, strict=True):
            expected = mark if old.customer_id == customer else old.metadata
            assert (new.event_id, new.metadata) == (old.event_id, expected)
        assert store.usage(meter, up_to=2**63) == usage
        settled(store)
        if not died:
            break
    assert at > 6


def test_a_file_that_is_missing_or_damaged_gives_no_number(store: Store, meters: list[Any]) -> None:
    store.roll_up(meters[1], log_position(4, LAST))
    usage = store.usage(meters[1])
    store.archive()
    february = store.path / "archive" / store.files()[1]
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
        if damage is None or len(damage) != len(content):
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
    archiving_thread.join()
    assert store.in_engine() == 24
    position = log_position(4, LAST)
    with Held(store) as held:
        files = store.files()
        while not store._archived_forgotten(rule, position):
            time.sleep(0.01)
        assert set(files) < set(store.files())
        assert not store.store.forget(rule, position)
        source = held.view.rows("customer_id = 'cus_1é' AND mapContains(metadata, 'bytes')")
        assert store.store._engine.rows(f"SELECT count() FROM {source}") == [(24,)]
    assert store.store.forget(rule, position)
    assert not set(files) & set(store.files())


def test_a_frozen_store_has_its_archive(store: Store, new_meter: Any, tmp_path: Path) -> None:
    meter = new_meter()
    store.archive()
    store.late(5, "late")
    before = store.everything(meter)
    copy, files = tmp_path / "copy", tmp_path / "new" / "archive"
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
    settled(store)


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
