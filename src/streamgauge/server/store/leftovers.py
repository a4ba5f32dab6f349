# ruff: noqa: S608 - The predicate is our own text.
"""What a change of the archive leaves behind: files and rows that no state in force needs."""

from __future__ import annotations

import threading

from streamgauge.core.disk import OsDirectory
from streamgauge.server import archived as states
from streamgauge.server.store.archive import Archive
from streamgauge.server.store.engine import Engine
from streamgauge.server.store.view import below


def remove(engine: Engine, writing: threading.Lock, archive: Archive, wait_s: float) -> bool:
    """Remove it, once nobody reads by an earlier state; return whether nothing of it is left.

    Args:
        engine: Where events are.
        writing: Held by whoever inserts.
        archive: Nobody else changes it meanwhile.
        wait_s: How long to wait for who reads.

    Raises:
        UnavailableError: The engine refuses; the same call may be made again.
        OSError: The disk refuses; as above.
    """
    if archive.directory is None:
        return True
    archive.load()
    archive.write_copy()
    if not archive.unread(wait_s):
        return False
    left = states.leftovers(archive.directory, archive.state)
    for path in left:
        path.unlink(missing_ok=True)
    if left:
        OsDirectory(archive.directory).sync()
    _delete(engine, writing, below(archive.state))
    return True


def _delete(engine: Engine, writing: threading.Lock, archived: str) -> None:
    """Delete archived rows from ``events``: whole partitions, where nothing else is in them."""
    months = engine.rows(
        f"SELECT DISTINCT toYYYYMM(timestamp) FROM events WHERE {archived} ORDER BY ALL"
    )
    for (month,) in months:
        # Every insert into a partition takes a higher number; merges and mutations keep theirs.
        newest = (
            "SELECT max(max_block_number) FROM system.parts WHERE database = currentDatabase() "
            f"AND table = 'events' AND active AND partition = '{month}'"
        )
        others = (
            f"SELECT 1 FROM events WHERE toYYYYMM(timestamp) = {month} AND NOT {archived} LIMIT 1"
        )
        seen = engine.rows(newest)
        if not engine.rows(others):
            with writing:
                # Inserts wait: whether something came is known without a look at any row.
                if engine.rows_at_once(newest) == seen:
                    engine.define(f"ALTER TABLE events DROP PARTITION {month}")
                    continue
        engine.run(
            f"ALTER TABLE events DELETE IN PARTITION {month} WHERE {archived} "
            "SETTINGS mutations_sync = 1"
        )
