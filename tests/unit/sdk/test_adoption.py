from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from streamgauge.core.disk import OsDirectory
from streamgauge.core.files import Directory
from streamgauge.core.journal import Journal
from streamgauge.core.limits import ADOPTION_INTERVAL_S
from streamgauge.sdk.drain import drain_spools
from streamgauge.sdk.identity import Destination, write_identity
from streamgauge.sdk.inspection import SpoolReport, inspect_spools
from streamgauge.sdk.spool import Spool
from streamgauge.sdk.spooldir import create_spool, tidy_remains
from streamgauge.sinks.base import RetryLaterError
from streamgauge.testing import ManualClock, MemorySink

WRITER = "0" * 32


@pytest.fixture
def root(spool_dir: Path) -> OsDirectory:
    return OsDirectory(spool_dir, create=True)


def die(host: Any) -> Path:
    """End the process of ``host`` as a kill does, and return its spool."""
    host.engine.tick()
    spool = host.engine.spool
    spool.abandon()
    assert isinstance(spool.directory, OsDirectory)
    return spool.directory.path


def left_behind(stepped: Any, root: OsDirectory, destination: str = "memory") -> Path:
    host = stepped(MemorySink(destination), root)
    host.track(100)
    host.session().add(11)
    return die(host)


class TidiedRoot(OsDirectory):
    """Spools, with a deliverer that finds the first one just when it is being made."""

    tidied: str | None = None

    def child(self, name: str, *, create: bool = False) -> Directory:
        if create and self.tidied is None:
            self.tidied = name
            (self.path / name).mkdir(mode=0o700)
            tidy_remains(self, name)
            return super().child(name)
        return super().child(name, create=create)


def reports(spool_dir: Path) -> dict[str, SpoolReport]:
    return {report.name: report for report in inspect_spools(spool_dir)}


def test_a_spool_of_a_process_that_is_gone_is_delivered_and_removed(
    stepped: Any, root: OsDirectory
) -> None:
    path = left_behind(stepped, root)
    host = stepped(MemorySink(), root)
    host.engine.adopt()
    assert host.stats().adopted.spooled_bytes == 111
    host.deliver()
    stats = host.stats()
    assert (stats.adopted.bytes, stats.adopted.acknowledged_bytes) == (111, 111)
    assert (stats.adopted.spools, stats.counted_bytes, stats.holds) == (1, 0, True)
    assert host.sink.bytes_by_customer() == {"ada": 111}
    assert not path.exists()


def test_a_spool_whose_process_is_alive_is_left_to_it(stepped: Any, root: OsDirectory) -> None:
    alive = stepped(MemorySink(), root)
    alive.track(5)
    other = stepped(MemorySink(), root)
    other.engine.adopt()
    assert other.stats().adopted.spools == 0
    assert other.stats().left_alone == ()
    die(alive)
    other.clock.advance(ADOPTION_INTERVAL_S)
    other.engine.adopt()
    other.deliver()
    assert other.sink.total_bytes() == 5


@pytest.mark.parametrize("environment", ["test_mode", "live_mode"])
def test_a_spool_of_another_destination_is_left_alone(
    stepped: Any, root: OsDirectory, environment: str
) -> None:
    address = "elsewhere" if environment == "test_mode" else "memory"
    path = left_behind(stepped, root, address)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    host = stepped(MemorySink(), root, environment=environment)
    host.engine.adopt()
    host.deliver()
    assert host.sink.events == []
    (reason,) = host.stats().left_alone
    assert f"its events go to {address} in test_mode" in reason
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def plant_junk(path: Path) -> None:
    (path.parent / "notes.txt").write_text("buy milk")
    path.mkdir(mode=0o700)
    (path / "spool.json").write_text("{}")


def plant_link(path: Path) -> None:
    path.symlink_to("/etc")


def plant_linked_identity(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "spool.json").symlink_to("/etc/passwd")


def plant_open_directory(path: Path) -> None:
    path.mkdir(mode=0o755)


def plant_file(path: Path) -> None:
    path.write_text("")


def plant_pages_alone(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "tally-00.page").write_bytes(b"x" * 4_096)


def plant_newer(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "spool.json").write_text('{"format": 3, "anything": []}')


def plant_moved(path: Path) -> None:
    path.mkdir(mode=0o700)
    identity = {
        "format": 1,
        "writer_id": "1" * 32,
        "destination": {"address": "memory", "mode": "test_mode"},
    }
    (path / "spool.json").write_text(json.dumps(identity))


@pytest.mark.parametrize(
    "plant",
    [
        plant_junk,
        plant_link,
        plant_linked_identity,
        plant_open_directory,
        plant_file,
        plant_pages_alone,
        plant_newer,
        plant_moved,
    ],
)
def test_what_was_planted_is_left_alone_and_told_once(
    stepped: Any,
    root: OsDirectory,
    spool_dir: Path,
    plant: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    plant(spool_dir / WRITER)
    host = stepped(MemorySink(), root)
    for _ in range(3):
        host.engine.adopt()
        host.track(5)
        host.deliver()
        host.clock.advance(ADOPTION_INTERVAL_S)
    left_alone = host.stats().left_alone
    assert any(reason.startswith(WRITER) for reason in left_alone)
    assert len(caplog.records) == 1
    assert os.path.lexists(spool_dir / WRITER)
    assert host.sink.total_bytes() == 15
    assert reports(spool_dir)[WRITER].problems


@pytest.mark.parametrize("begun", [(), ("lock",), ("lock", "spool.json.new")])
def test_a_creation_cut_short_is_tidied_away_when_nobody_can_be_at_it_any_more(
    stepped: Any, root: OsDirectory, spool_dir: Path, begun: tuple[str, ...]
) -> None:
    (spool_dir / WRITER).mkdir(mode=0o700)
    for name in begun:
        (spool_dir / WRITER / name).touch(mode=0o600)
    host = stepped(MemorySink(), root)
    for _ in range(2):
        host.engine.adopt()
        assert (spool_dir / WRITER).exists()
        host.clock.advance(9)
    host.engine.adopt()
    assert not (spool_dir / WRITER).exists()
    assert host.stats().left_alone == ()


@pytest.mark.parametrize("made", [(), ("spool.json.new",)])
def test_a_spool_that_is_being_made_is_alive_and_adopted_later(
    stepped: Any, root: OsDirectory, spool_dir: Path, made: tuple[str, ...]
) -> None:
    maker = root.child(WRITER, create=True)
    lock = maker.lock("lock")
    assert lock is not None
    for name in made:
        maker.open(name, create=True).close()
    host = stepped(MemorySink(), root)
    host.engine.adopt()
    assert host.stats().left_alone == ()
    assert (spool_dir / WRITER / "lock").exists()
    destination = Destination(address="memory", mode="test_mode")
    write_identity(maker, WRITER, destination)
    lock.release()
    host.clock.advance(ADOPTION_INTERVAL_S)
    host.engine.adopt()
    assert host.stats().adopted.spools == 1
    host.deliver()
    assert not (spool_dir / WRITER).exists()


def test_damage_in_a_page_costs_its_slot_alone_and_bills_nothing_twice(
    stepped: Any, root: OsDirectory, spool_dir: Path
) -> None:
    host = stepped(MemorySink(), root)
    for n, customer in enumerate(("ada", "ben", "cy")):
        host.session(customer).add(10**n)
    path = die(host)
    (page,) = path.glob("*.page")
    content = bytearray(page.read_bytes())
    content[64 + 64 + 16] ^= 0xFF  # The window of the second slot.
    page.write_bytes(content)
    sink = MemorySink()
    for _ in range(2):
        host = stepped(sink, root)
        host.engine.adopt()
        host.deliver()
        assert "slot 1 holds 10 unnamed bytes" in host.stats().left_alone[0]
        host.engine.stop_counting()
        host.engine.close()
    assert sink.bytes_by_customer() == {"ada": 1, "cy": 100}
    assert page.exists()
    assert "unnamed" in reports(spool_dir)[path.name].problems[0]


def test_damage_in_the_journal_costs_its_record_alone(stepped: Any, root: OsDirectory) -> None:
    host = stepped(MemorySink(), root)
    for n in range(3):
        host.track(10**n, f"c{n}")
    path = die(host)
    (segment,) = path.glob("*.seg")
    content = segment.read_bytes()
    at = content.index(b'"customer_id":"c1"')
    segment.write_bytes(content[:at] + b"X" + content[at + 1 :])
    assert "checksum" in reports(path.parent)[path.name].problems[0]
    host = stepped(MemorySink(), root)
    host.engine.adopt()
    host.deliver()
    assert host.sink.bytes_by_customer() == {"c0": 1, "c2": 100}
    assert "checksum" in host.stats().left_alone[0]
    assert segment.exists()


def test_a_spool_as_large_as_it_may_grow_is_adopted_with_its_pages(
    stepped: Any, root: OsDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = left_behind(stepped, root)
    monkeypatch.setitem(Spool.__init__.__kwdefaults__, "bytes_max", 1)
    host = stepped(MemorySink(), root)
    host.engine.adopt()
    host.deliver()
    assert host.sink.bytes_by_customer() == {"ada": 111}
    assert not path.exists()


def test_on_a_full_disk_a_dead_spool_gives_up_its_reserve_for_what_is_in_its_pages(
    stepped: Any, root: OsDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = left_behind(stepped, root)
    append_all = Journal.append_all

    def append_if_room(journal: Journal, records: Sequence[bytes]) -> None:
        if (path / "reserve").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        append_all(journal, records)

    assert (path / "reserve").exists()
    monkeypatch.setattr(Journal, "append_all", append_if_room)
    host = stepped(MemorySink(), root)
    host.engine.adopt()
    host.deliver()
    assert host.sink.bytes_by_customer() == {"ada": 111}
    assert not path.exists()


def test_a_dead_spool_is_delivered_before_the_disk_has_room_to_bill_its_pages(
    stepped: Any, root: OsDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = stepped(MemorySink(), root)
    dead.session("ben").add(7)
    dead.clock.advance(60)
    dead.engine.tick()
    dead.session("ben").add(11)
    dead.session("cy").add(13)
    path = die(dead)
    append_all = Journal.append_all
    room: list[str] = []

    def append_if_room(journal: Journal, records: Sequence[bytes]) -> None:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        room.pop()
        append_all(journal, records)

    monkeypatch.setattr(Journal, "append_all", append_if_room)
    host = stepped(MemorySink(), root, clock=dead.clock)
    # Nothing fits, then one window of two, then the other; in between another process takes over.
    for freed, billed in ([], 7), (["a record"], 18), ([], 18):
        room += freed
        host.engine.adopt()
        host.deliver()
        assert sum(host.sink.bytes_by_customer().values()) == billed
        assert list(path.glob("*.page"))
    host.engine.dispatch.close()
    host.engine.dispatch.resign()
    heir = stepped(host.sink, root, clock=dead.clock)
    room.append("a record")
    heir.engine.adopt()
    heir.deliver()
    assert host.sink.bytes_by_customer() == {"ben": 18, "cy": 13}
    assert heir.stats().holds
    assert not path.exists()


def test_refused_events_stay_with_their_reason_when_their_spool_is_done(
    stepped: Any, root: OsDirectory, spool_dir: Path
) -> None:
    path = left_behind(stepped, root)
    sink = MemorySink()
    sink.refuse(lambda event: "unknown customer" if event.bytes == 100 else None)
    host = stepped(sink, root)
    for _ in range(3):
        host.engine.adopt()
        host.deliver()
        host.clock.advance(ADOPTION_INTERVAL_S)
    assert host.stats().adopted.refused_bytes == 100
    report = reports(spool_dir)[path.name]
    assert [letter.reason for letter in report.refused] == ["unknown customer"]
    assert (report.pending_events, report.problems) == (0, ())


def test_a_report_counts_what_waits_in_live_and_dead_spools(
    stepped: Any, root: OsDirectory, spool_dir: Path
) -> None:
    dead = left_behind(stepped, root, "elsewhere")
    host = stepped(MemorySink(), root)
    host.track(7)
    host.session().add(8)
    found = reports(spool_dir)
    alive = found.pop(host.engine.spool.identity.writer_id)
    assert (alive.alive, alive.pending_events, alive.pending_bytes) == (True, 1, 7)
    assert (alive.open_bytes, alive.problems) == (8, ())
    gone = found.pop(dead.name)
    assert (gone.alive, gone.pending_bytes, gone.open_bytes) == (False, 100, 11)
    assert gone.destination is not None
    assert gone.destination.address == "elsewhere"
    assert found == {}


def test_a_spool_that_is_tidied_away_while_it_is_made_is_made_again_on_disk(
    spool_dir: Path,
) -> None:
    root = TidiedRoot(spool_dir, create=True)
    destination = Destination(address="memory", mode="test_mode")
    spool = create_spool(
        root, destination, clock=ManualClock(), entropy=os.urandom, bytes_max=1_000_000
    )
    assert root.tidied is not None
    assert root.names() == [spool.name]
    assert spool.name != root.tidied
    spool.close()


def test_draining_delivers_dead_spools_of_the_destination_alone(
    stepped: Any, root: OsDirectory, spool_dir: Path
) -> None:
    left_behind(stepped, root)
    left_behind(stepped, root)
    foreign = left_behind(stepped, root, "elsewhere")
    sink, seen, waits = MemorySink(), list[int](), list[float]()
    sink.fail_next(RetryLaterError("away"))
    adopted, trouble = drain_spools(
        spool_dir,
        sink,
        environment="test_mode",
        on_progress=lambda sums: seen.append(sums.acknowledged_bytes),
        wait=waits.append,
    )
    assert (adopted.bytes, adopted.acknowledged_bytes, adopted.spools) == (222, 222, 2)
    assert "away" in (trouble or "") or "elsewhere" in (trouble or "")
    assert len(waits) == 1
    assert sorted(seen) == seen
    assert [path.name for path in spool_dir.iterdir()] == [foreign.name]


def test_draining_to_a_sink_that_is_away_gives_up_and_keeps_everything(
    stepped: Any, root: OsDirectory, spool_dir: Path
) -> None:
    path = left_behind(stepped, root)
    sink = MemorySink()
    sink.fail_next(*(RetryLaterError("away") for _ in range(100)))
    adopted, trouble = drain_spools(
        spool_dir, sink, environment="test_mode", on_progress=lambda _: None, wait=lambda _: None
    )
    assert adopted.spooled_bytes == 111
    assert "away" in (trouble or "")
    assert reports(spool_dir)[path.name].pending_bytes == 111
