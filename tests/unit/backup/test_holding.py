from __future__ import annotations

import threading
from pathlib import Path

import pytest

from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import ConfigurationError
from streamgauge.server.backup import holding, manifest
from streamgauge.server.ingest.decode import Scope
from streamgauge.server.ingest.keeper import Keeper
from streamgauge.server.ingest.snapshot import SnapshotFiles
from streamgauge.server.layout import BACKUPS

SCOPE = Scope("bus_1", "test_mode")


def test_known_ids_that_change_all_the_time_are_linked_whole(tmp_path: Path) -> None:
    keeper = Keeper(OsDirectory(tmp_path / "ids", create=True))
    stop = threading.Event()
    written = [0]

    def write() -> None:
        while not stop.is_set():
            written[0] += 1
            ids = [f"{written[0]}-{n}" for n in range(50)] + [f"{'0' * 32}-{written[0] * 2}"]
            keeper.known.add(keeper.known.keys(SCOPE, ids))
            keeper.save(written[0])

    writing = threading.Thread(target=write)
    writing.start()
    try:
        for number in range(20):
            into = tmp_path / f"copy-{number}"
            OsDirectory(into, create=True)
            holding.link_ids(tmp_path / "ids", into)
            loaded = SnapshotFiles(OsDirectory(into)).load()
            covered = loaded.snapshot.covers
            assert loaded.damage == []
            assert covered <= written[0]
            ids = [f"{n}-7" for n in range(1, covered + 1)]
            assert all(loaded.known.known(loaded.known.keys(SCOPE, ids)))
            loaded.known.foreign.close()
    finally:
        stop.set()
        writing.join(30)
        keeper.close()


def test_what_a_dead_backup_left_is_removed_unless_somebody_copies(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    OsDirectory(data_dir, create=True)
    left = data_dir / BACKUPS / "bak_1"
    left.mkdir(parents=True)
    frozen = data_dir / "engine" / "shadow" / "bak_1"
    frozen.mkdir(parents=True)
    with holding.free_to_copy(data_dir) as free:
        assert free
        holding.clear(data_dir)
        assert left.exists()
    holding.clear(data_dir)
    assert not left.exists()
    assert not frozen.exists()


def test_a_backup_of_a_later_format_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    held = holding.Held(
        id="bak_1", version="9", business_id="bus_1", taken_at=holding.utc(0), segment=1, stored=0
    )
    later = manifest.Manifest(format=manifest.FORMAT + 1, held=held, files=[])
    manifest.write(tmp_path, later)
    with pytest.raises(ConfigurationError, match="format 2, this release knows format 1"):
        manifest.read(tmp_path)
