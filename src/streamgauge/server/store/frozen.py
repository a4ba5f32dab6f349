# ruff: noqa: S608 - Names are our own and literals go through compile.literal.
"""The engine's rows as files: frozen beside a running server, and brought into a new engine.

A part of the engine never changes after it is written, so a freeze is a hard link per file. What
the engine remembers of earlier inserts is not in it; whoever freezes does so between inserts.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from streamgauge.core.errors import CorruptError, UnsupportedError
from streamgauge.server import archived as states
from streamgauge.server.archived import Archived
from streamgauge.server.metering import compile as compiled
from streamgauge.server.store.address import address_of
from streamgauge.server.store.archive import Archive
from streamgauge.server.store.engine import Engine
from streamgauge.server.store.rollups import FILLING, RETIRED, Rollups
from streamgauge.server.store.schema import SPANS
from streamgauge.server.store.view import View, below

TABLES: Final = ("rollups", "archive", "events", *SPANS)
"""What is frozen, in the order in which it has to be brought: definitions before their rows."""

Bring = Callable[[str, str, Path], None]
"""Puts the files of (table, part) into a directory."""


def freeze(engine: Engine, archived: Archived, name: str, into: Path) -> int:
    """Put every part of every table into ``into/TABLE/PART``; return how many events there are.

    Args:
        engine: Nobody inserts meanwhile.
        archived: What is archived; nobody changes that meanwhile, either.
        name: A name that no earlier freeze had.
        into: A directory of the same file system, for this alone.

    Raises:
        UnsupportedError: The engine's files are not on this machine.
        UnavailableError: The engine refuses.
        OSError: The disk refuses.
    """
    root = _root(engine.directory)
    shadow = root / "shadow" / name
    try:
        for table in TABLES:
            engine.define(f"ALTER TABLE {table} FREEZE WITH NAME '{name}'")
        for table in TABLES:
            frozen = shadow / _data_path(engine, table).relative_to(root)
            if frozen.exists():
                frozen.rename(into / table)
            else:
                (into / table).mkdir(mode=0o700)
        return count(engine, archived)
    finally:
        shutil.rmtree(shadow, ignore_errors=True)


def link_archived(view: View, into: Path) -> None:
    """Put the files of a state of the archive into an empty directory, with their manifest.

    Raises:
        UnavailableError: One is missing or damaged.
        OSError: The disk refuses.
    """
    if not view.state.generation:
        return
    view.check()
    for file in view.state.files:
        (into / file.name).hardlink_to(view.directory / file.name)
    states.write(into, view.state)


def count(engine: Engine, archived: Archived) -> int:
    """Return how many events there are, archived ones included.

    Raises:
        UnavailableError: The engine refuses.
    """
    ((events,),) = engine.rows(f"SELECT count() FROM events WHERE NOT {below(archived)}")
    return int(events) + archived.rows


def bring(dsn: str, parts: Iterable[tuple[str, str]], put: Bring, events: int) -> None:
    """Fill an engine that holds nothing with frozen parts.

    Args:
        dsn: Where it is to be; made.
        parts: The table and the name of each part.
        put: Puts the files of a part into a directory that it makes.
        events: How many events there must be in the end.

    Raises:
        CorruptError: There are others.
        UnavailableError: The engine refuses.
        OSError: The disk refuses.
    """
    _root(address_of(dsn).directory)
    by_table = {table: [part for owner, part in parts if owner == table] for table in TABLES}
    engine = Engine(dsn, query_clients=1)
    writing = threading.Lock()
    try:
        archive = Archive(engine, writing, None)
        _attach(engine, "rollups", by_table.pop("rollups"), put)
        _give_up_filling(engine)
        # Views and, what matters here, the columns of the rollups.
        Rollups(engine, writing, archive)
        for table, own in by_table.items():
            _attach(engine, table, own, put)
        archive.load()
        if (found := count(engine, archive.state)) != events:
            raise CorruptError("store/events", 0, f"{found} events were brought, not {events}")
    finally:
        engine.close()


def _root(directory: Path | None) -> Path:
    if directory is None:
        raise UnsupportedError(
            "the events are in another server's engine, which has backups of its own"
        )
    # The engine says where its files are with links followed.
    return directory.resolve()


def _data_path(engine: Engine, table: str) -> Path:
    ((paths,),) = engine.rows(
        "SELECT data_paths FROM system.tables "
        f"WHERE database = currentDatabase() AND name = '{table}'"
    )
    return Path(paths[0]).resolve()


def _attach(engine: Engine, table: str, parts: Iterable[str], put: Bring) -> None:
    detached = _data_path(engine, table) / "detached"
    for part in parts:
        put(table, part, detached / part)
        engine.define(f"ALTER TABLE {table} ATTACH PART {compiled.literal(part)}")


def _give_up_filling(engine: Engine) -> None:
    """Retire rollups that were being filled: which of their chunks are there is forgotten."""
    engine.define(
        f"INSERT INTO rollups SELECT id, {RETIRED}, definition "
        f"FROM rollups FINAL WHERE state = {FILLING}"
    )
