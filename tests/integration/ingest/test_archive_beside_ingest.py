"""Ingest goes on whatever became of the archive's files, and of what the log let go of."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from streamgauge.core.errors import UnavailableError
from streamgauge.core.memory import MemoryFile
from streamgauge.server.app import Opened
from streamgauge.server.archived import ArchivedFile, month_start
from streamgauge.server.config import Config
from streamgauge.server.ingest import inserter
from streamgauge.server.metering.filters import Condition, Conjunction, Filter, Operator
from streamgauge.server.store.segments import log_position
from tests.in_process import served
from tests.integration.ingest.test_pipeline import METER, Plant, Reluctant

CLAUSE = Condition(key="quality", operator=Operator.NOT_EQUALS, value="sd")
LATER = msgspec.structs.replace(
    METER, id="mtr_2", filter=Filter(conjunction=Conjunction.AND, clauses=(CLAUSE,))
)


class ArchivingPlant(Plant):
    """A pipeline over a store with an archive, whose log keeps one segment."""

    def __init__(self, path: Path) -> None:
        super().__init__(path / "unused")
        self.store.close()
        self.archive = path / "archive"
        self.store = Reluctant(f"chdb://{path / 'engine'}", query_clients=2, archive=self.archive)

    def journal(self) -> dict[str, MemoryFile]:
        return {name: file for name, file in self.directory.files.items() if "journal" in name}

    def archive_but_the_last(self) -> None:
        """Insert four segments, and archive the three that the log then lets go of."""

        async def story() -> None:
            for id in ("a", "b", "c", "d"):
                await self.send(id)
                await self.pipeline.caught_up()

        async def archived() -> None:
            now, up_to = self.pipeline.now(), await self.pipeline.settled()
            before = month_start(now.year, now.month + 1)
            assert self.store.archiver.step(before, up_to) == 3

        self.run(story, METER)
        self.left = self.journal()
        self.run(archived, METER)
        assert self.log.sealed() == [4]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ArchivingPlant]:
    monkeypatch.setattr(inserter, "RETAINED_SEGMENTS_MAX", 1)
    built = ArchivingPlant(tmp_path)
    yield built
    built.store.close()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_start_makes_rollups_of_new_meters_without_the_archives_files(
    plant: ArchivingPlant, damaged: bool
) -> None:
    plant.archive_but_the_last()
    (path,) = plant.archive.glob("events-*")
    content = path.read_bytes()
    path.unlink()
    if damaged:
        path.write_bytes(content[:4] + bytes(len(content) - 8) + content[-4:])

    async def story() -> None:
        assert await plant.send("e") == [True]
        await plant.pipeline.caught_up()

    plant.run(story, METER, LATER)
    assert plant.usage() == 5
    with pytest.raises(UnavailableError):
        plant.store.fill_rollups()
    assert not plant.store.is_rolled_up(LATER)
    path.write_bytes(content)
    plant.store.fill_rollups()
    assert plant.store.is_rolled_up(LATER)
    assert plant.usage() == plant.usage(up_to=2**63) == 5


def test_segments_that_come_back_after_they_were_archived_do_not_hold_the_log(
    plant: ArchivingPlant,
) -> None:
    """As after a power cut, when the removal of the files had not reached the disk."""
    plant.archive_but_the_last()
    plant.directory.files = plant.left | plant.directory.files
    plant.open()
    assert plant.log.sealed() == [1, 2, 3, 4]

    async def story() -> None:
        assert await plant.send("a", "e") == [False, True]
        await plant.pipeline.caught_up()
        await asyncio.to_thread(plant.store.archiver.clean)

    plant.run(story, METER)
    plant.run(nothing, METER)
    assert plant.pipeline.state().damage == []
    assert plant.log.sealed() == [5]
    assert plant.store.rows_of_segments(1) == {4: 1, 5: 1}
    assert plant.usage() == plant.usage(up_to=2**63) == plant.store.count() == 5
    assert plant.store.archived_segment() == 3
    assert plant.store.archived.position == log_position(4, 0) - 1


async def nothing() -> None:
    pass


def test_metrics_look_at_the_archives_files_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[threading.Thread] = []

    async def work(http: httpx.AsyncClient, opened: Opened) -> None:
        store: Any = opened.parts.store
        missing_files = store.missing_files

        def noted() -> list[ArchivedFile]:
            seen.append(threading.current_thread())
            found: list[ArchivedFile] = missing_files()
            return found

        monkeypatch.setattr(store, "missing_files", noted)
        page = (await http.get("/metrics")).text
        assert "streamgauge_archive_missing_files 0.0" in page
        assert threading.current_thread() not in seen

    served(Config(data_dir=tmp_path / "data"), work)
    assert len(seen) == 1
