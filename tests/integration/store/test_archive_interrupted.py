"""Archiving that dies, is stopped, or meets a full disk; and when it is due."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streamgauge.core.disk import OsFile
from streamgauge.core.errors import (
    CorruptError,
    UnavailableError,
)
from streamgauge.core.limits import DISK_RESERVE_BYTES
from streamgauge.server import archived as states
from streamgauge.server.ingest import retention
from streamgauge.server.ingest.retention import Retention
from streamgauge.server.metering.forgetting import Forget
from streamgauge.server.store import archiving
from streamgauge.server.store.segments import log_position
from streamgauge.testing import ManualClock
from tests.integration.store.archiving import APRIL, LAST, SCOPE, Store


class Dying:
    """Lets nothing be changed from the call of a number on."""

    def __init__(self, patch: pytest.MonkeyPatch, store: Store, at: int) -> None:
        self.calls = 0
        self._at = at
        engine = store.store._engine
        for owner, name in (
            (engine, "run"),
            (engine, "define"),
            (engine, "insert"),
            (archiving.parquet, "copied"),
            (OsFile, "sync"),
            (os, "rename"),
            (Path, "rename"),
            (Path, "unlink"),
        ):
            patch.setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls >= self._at:
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


def test_inserts_do_not_wait_while_it_is_looked_what_else_is_in_a_month(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what comes behind that look stays."""
    engine, came = store.store._engine, list[str]()
    look = engine.rows

    def looked(query: str, *args: Any) -> list[tuple[Any, ...]]:
        assert not store.store._writing.locked(), query
        found = look(query, *args)
        if "LIMIT 1" in query and "AND NOT (" in query and not came:
            came.append("came-late")
            store.late(5, *came, at="2026-01-08T00:00:00Z")
        return found

    monkeypatch.setattr(engine, "rows", looked)
    assert sum(store.archive(before=APRIL)) == 72
    monkeypatch.undo()
    assert (came, store.in_engine(), store.store.count()) == (["came-late"], 24 + 1, 96 + 1)
    assert store.store.event("came-late", **SCOPE)
    store.check_settled()


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
        store.check_settled()
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
        # A call writes one file again, and the next one finds nothing to do.
        assert do() or do()
        kept = store.store.events(**SCOPE, limit=1000)
        mark = {"bytes": "5", "streamgauge_forgotten": "true"}
        for old, new in zip(listed, kept, strict=True):
            expected = mark if old.customer_id == customer else old.metadata
            assert (new.event_id, new.metadata) == (old.event_id, expected)
        assert store.usage(meter, up_to=2**63) == usage
        store.check_settled()
        if not died:
            break
    assert at > 6


def test_a_state_that_was_taken_without_an_answer_is_found(
    store: Store, new_meter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = new_meter()
    before, insert = store.briefly(meter), store.store._engine.insert

    def unheard(table: str, *args: Any) -> None:
        insert(table, *args)
        raise UnavailableError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(store.store._engine, "insert", unheard)
        with pytest.raises(UnavailableError, match="no answer"):
            store.archive()
        assert store.briefly(meter) == before
    assert store.archive() == [24, 24]
    assert store.briefly(meter) == before
    store.check_settled()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("FROM events WHERE", "FROM events WHERE event_id != '2026-01/2' AND"),
        (", metadata,", ", mapApply((k, v) -> (k, if(v = '1.25', '1.250', v)), metadata),"),
    ],
)
def test_a_file_that_gives_back_other_events_is_not_relied_on(
    store: Store, new_meter: Any, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str
) -> None:
    before, write = store.briefly(new_meter()), store.store._engine.run
    with monkeypatch.context() as patch:
        patch.setattr(store.store._engine, "run", lambda sql: write(sql.replace(right, wrong)))
        with pytest.raises(CorruptError, match="gives back other events"):
            store.archive()
    assert (store.files(), store.in_engine()) == ([], 96)
    assert store.briefly(new_meter()) == before


def test_a_stop_leaves_all_as_it_was(store: Store, new_meter: Any) -> None:
    meter = new_meter()
    before = store.briefly(meter)
    store.store.stop_long_work()
    assert store.archive() == []
    assert (store.in_engine(), store.files()) == (96, [])
    store.reopen()
    assert store.archive() == [24, 24, 24]
    assert store.briefly(meter) == before


def test_a_full_disk_is_told_and_left_as_it_was(
    store: Store, new_meter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.briefly(new_meter())

    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(OsFile, "sync", full)
        with pytest.raises(OSError, match="No space left"):
            store.archive()
    assert store.files() == []
    usage = archiving.shutil.disk_usage(store.path)._replace(free=DISK_RESERVE_BYTES)
    with monkeypatch.context() as patch:
        patch.setattr(archiving.shutil, "disk_usage", lambda _: usage)
        with pytest.raises(UnavailableError, match=f"{DISK_RESERVE_BYTES} bytes are free"):
            store.archive()
    assert (store.in_engine(), store.store.archived.generation) == (96, 0)
    assert store.briefly(new_meter()) == before


class Log:
    """What retention asks of the way of events: how far the log lets go."""

    def __init__(self) -> None:
        self.position = log_position(4, LAST)

    async def settled(self) -> int:
        return self.position


async def at_once(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def test_retention_archives_whole_months_when_they_are_due(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start of May of 2026, 35 days keep the whole of March, and 30 more what is after."""
    log, clock = Log(), ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    kept: Any = Retention(store.store, log, clock, at_once, 35)
    assert asyncio.run(kept.check()) == 48
    assert kept.state().before == datetime(2026, 3, 1, tzinfo=UTC)
    assert asyncio.run(Retention(store.store, log, clock, at_once).check()) == 0
    store.late(5, "late", "later")
    log.position = log_position(5, LAST)
    assert asyncio.run(kept.check()) == 0
    monkeypatch.setattr(retention, "ARCHIVE_LATE_ROWS_MIN", 2)
    assert asyncio.run(kept.check()) == 2
    clock.advance(5 * 86_400)
    assert asyncio.run(kept.check()) == 24
    state = kept.state()
    assert state.before == APRIL
    assert [(m.month, m.events, m.files) for m in state.months] == [
        ("2026-01", 24, 1),
        ("2026-02", 26, 1),
        ("2026-03", 24, 1),
    ]
    clock.advance(30 * 86_400)
    store.directory.chmod(0o755)
    assert asyncio.run(kept.check()) == 0
    assert "it must be ours with mode 0700" in kept.state().trouble
    store.directory.chmod(0o700)
    assert asyncio.run(kept.check()) == 24
    assert kept.state().trouble is None
