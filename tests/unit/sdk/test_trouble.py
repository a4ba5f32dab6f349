from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from streamgauge import Durability, Ingestion, InvalidInputError
from streamgauge.core.disk import OsDirectory
from streamgauge.core.files import File, Page
from streamgauge.core.limits import ADOPTED_AT_ONCE_MAX
from streamgauge.core.memory import MemoryDirectory, MemoryFile
from streamgauge.sdk.dead_letters import DeadLetters
from streamgauge.sdk.drain import drain_spools
from streamgauge.sdk.records import DeadLetter, Draft
from streamgauge.sdk.session import LockedStreamSession
from streamgauge.sinks.base import RetryLaterError
from streamgauge.testing import MemorySink, assert_conserved


class Disk:
    """How much room there is."""

    def __init__(self, room: int) -> None:
        self.room = room

    def take(self, size: int) -> None:
        if size > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= size


class SmallFile(MemoryFile):
    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self.disk = disk

    def write_at(self, offset: int, data: bytes) -> None:
        self.disk.take(max(0, offset + len(data) - len(self.data)))
        super().write_at(offset, data)


class SmallDirectory(MemoryDirectory):
    """A directory on a disk that can be full."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self.disk = disk

    def open(self, name: str, *, create: bool = False) -> File:
        if create and name not in self.files:
            self.files[name] = SmallFile(self.disk)
            return self.files[name]
        return super().open(name, create=create)

    def map(self, name: str, size_bytes: int = 0) -> Page:
        self.disk.take(size_bytes)
        return super().map(name, size_bytes)

    def replace(self, name: str, data: bytes) -> None:
        self.disk.take(len(data))
        self.remove(name)
        super().replace(name, data)

    def remove(self, name: str) -> None:
        if name in self.files:
            self.disk.room += len(self.files[name].data)
        super().remove(name)

    def child(self, name: str, *, create: bool = False) -> MemoryDirectory:
        if create:
            self.children.setdefault(name, SmallDirectory(self.disk))
        return super().child(name)  # type: ignore[return-value]


def kill(host: Any) -> None:
    host.engine.abandon()


def test_counts_beyond_64_bits_become_several_events_and_hold_up_nobody(stepped: Any) -> None:
    host = stepped(MemorySink())
    first, second, other = host.session("ada"), host.session("ada"), host.session("bob")
    first.add(2**63)
    second.add(2**63)
    other.add(5)
    assert host.engine.tick(cut_open=True)
    host.deliver()
    assert host.sink.bytes_by_customer() == {"ada": 2**64, "bob": 5}
    assert_conserved(host.stats())


def test_counts_beyond_64_bits_of_a_killed_process_are_adopted(
    stepped: Any, tmp_path: Path
) -> None:
    root = OsDirectory(tmp_path / "spool", create=True)
    dead = stepped(MemorySink(), root)
    sessions = [dead.session(), dead.session()]
    for session in sessions:
        session.add(2**63)
    kill(dead)
    host = stepped(MemorySink(), root)
    host.engine.adopt()
    host.deliver()
    assert host.sink.total_bytes() == 2**64


def test_texts_of_derived_types_are_plain_texts(ingest: Any, sink: MemorySink) -> None:
    class Text(str):
        __slots__ = ()

    ingestion = ingest(event_name=Text("stream"))
    with ingestion.session(customer_id=Text("ada"), metadata={Text("k"): Text("v")}) as session:
        session.add(3)
    ingestion.track(customer_id="ada", bytes=4, event_id=Text("mine"))
    assert ingestion.flush()
    assert sink.bytes_by_customer() == {"ada": 7}


def test_a_key_that_is_no_unicode_is_refused_and_changes_nothing(ingest: Any) -> None:
    ingestion = ingest()
    with pytest.raises(InvalidInputError, match="metadata key"):
        ingestion.track(customer_id="ada", bytes=1, metadata={"\ud800": 1})
    assert ingestion.stats().counted_bytes == 0


def test_neither_flush_nor_close_says_yes_while_the_journal_refuses(
    ingest: Callable[..., Ingestion], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion = ingest()
    ingestion.session(customer_id="ada").add(5)

    def refuse(_drafts: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ingestion._engine().spool, "append_all", refuse)
    assert not ingestion.flush(0.2)
    assert not ingestion.close(0.2)
    assert ingestion.stats().open_bytes == 5


def test_on_a_full_disk_refused_events_are_kept_in_the_room_of_the_reserve(
    stepped: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = MemorySink()
    sink.refuse(lambda _event: "unknown customer")
    host = stepped(sink)
    directory, keep = host.engine.spool.directory, DeadLetters.keep

    def keep_if_room(letters: DeadLetters, refused: Sequence[DeadLetter]) -> int:
        if "reserve" in directory.names():
            raise OSError(errno.ENOSPC, "No space left on device")
        return keep(letters, refused)

    monkeypatch.setattr(DeadLetters, "keep", keep_if_room)
    host.track(7)
    host.engine.adopt()
    host.deliver()
    assert host.engine.settled()
    assert [letter.reason for letter in DeadLetters(directory).read()] == ["unknown customer"]


def test_a_plain_call_that_comes_after_the_end_is_turned_away_and_counted(stepped: Any) -> None:
    host = stepped(MemorySink())
    # A thread may have found the ingestion open just before it was closed.
    draft = Draft(group=host.group(), timestamp_ns=host.clock.time_ns(), quantity=7)
    host.engine.stop_counting()
    host.engine.close()
    assert host.engine.spool.accept(draft) == "closed"
    assert host.stats().refused_bytes == 7
    assert not host.root.names()
    assert_conserved(host.stats())


def test_bytes_of_a_sync_that_failed_are_known_in_their_page_before_they_are_delivered(
    stepped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = OsDirectory(tmp_path / "spool", create=True)
    host = stepped(MemorySink(), root)
    session = host.session()
    session.add(5)
    spool = host.engine.spool

    def refuse() -> None:
        raise OSError(errno.EIO, "the disk refuses")

    with monkeypatch.context() as patch:
        patch.setattr(spool.journal, "sync", refuse)
        assert not host.engine.tick(cut_open=True)
    spool.journal.roll()
    host.track(2)
    host.deliver()
    assert spool.journal.segments() == [2]
    kill(host)
    heir = stepped(host.sink, root)
    heir.engine.adopt()
    heir.deliver()
    assert host.sink.total_bytes() == 7
    assert host.sink.repeats <= 1


def test_counts_return_to_disk_when_it_has_room_again(stepped: Any) -> None:
    disk = Disk(8 * 1024 * 1024)
    host = stepped(MemorySink(), SmallDirectory(disk))
    room, disk.room = disk.room, 4_096
    host.session("ada").add(1)
    assert host.stats().durability is Durability.MEMORY
    host.engine.tick()
    host.session("bob").add(2)
    assert host.stats().durability is Durability.MEMORY
    disk.room = room
    host.engine.tick()
    host.session("eve").add(3)
    host.clock.advance(60)
    for _ in range(3):
        host.engine.tick()
    assert host.stats().durability is Durability.DISK
    host.deliver()
    assert host.sink.total_bytes() == 6


def test_a_disk_filled_by_the_spool_is_emptied_when_the_sink_returns(
    stepped: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.sdk.spool.SPOOL_SEGMENT_BYTES_MAX", 4_096)
    disk = Disk(100_000)
    host = stepped(MemorySink(), SmallDirectory(disk))
    count = 0
    while host.stats().durability is Durability.DISK:
        host.track(3)
        count += 1
    disk.room = 0
    for _ in range(50):
        host.track(3)
    host.deliver()
    host.deliver()
    assert host.sink.total_bytes() == 3 * (count + 50)
    assert host.stats().durability is Durability.DISK
    assert host.engine.spool.journal.size_bytes() < 8_192


def test_a_spool_directory_that_was_taken_away_is_told_and_ends_quietly(
    ingest: Any, spool_dir: Path
) -> None:
    ingestion = ingest()
    ingestion.track(customer_id="ada", bytes=5)
    assert ingestion.flush()
    spool_dir.rename(spool_dir.with_name("elsewhere"))
    for path in (spool_dir.with_name("elsewhere")).rglob("*"):
        if path.is_file():
            # Its thread may be writing the checkpoint.
            path.unlink(missing_ok=True)
    ingestion.track(customer_id="ada", bytes=6)
    assert not ingestion.flush(0.2)
    assert "the disk refuses" in (ingestion.stats().last_error or "")
    assert_conserved(ingestion.stats())
    assert not ingestion.close(0.2)


def test_a_user_without_a_home_counts_in_memory_and_is_told(
    monkeypatch: pytest.MonkeyPatch, sink: MemorySink
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("STREAMGAUGE_SPOOL_DIR", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with Ingestion(environment="test_mode", event_name="stream", sink=sink) as ingestion:
        assert ingestion.stats().durability is Durability.MEMORY
        assert "STREAMGAUGE_SPOOL_DIR" in (ingestion.stats().last_error or "")


def test_what_the_sink_asked_for_also_holds_when_delivery_is_woken(stepped: Any) -> None:
    host = stepped(MemorySink())
    host.sink.fail_next(RetryLaterError("429", retry_after_s=30.0))
    host.track(1)
    host.deliver()
    assert host.deliver() == 30.0
    assert host.sink.deliveries == 1
    host.clock.advance(30)
    host.deliver()
    assert host.sink.total_bytes() == 1


def test_many_dead_spools_are_adopted_a_few_at_a_time(stepped: Any, tmp_path: Path) -> None:
    root = OsDirectory(tmp_path / "spool", create=True)
    count = 2 * ADOPTED_AT_ONCE_MAX + 3
    dead = [stepped(MemorySink(), root) for _ in range(count)]
    for host in dead:
        host.track(2)
        kill(host)
    heir = stepped(MemorySink(), root)
    adopted: list[int] = []
    while not adopted or adopted[-1]:
        heir.engine.adopt()
        adopted.append(len(heir.engine.dispatch.adopter.spools))
        heir.deliver()
    assert max(adopted) == ADOPTED_AT_ONCE_MAX
    assert heir.sink.total_bytes() == 2 * count


def test_two_processes_at_the_same_moment_adopt_every_spool_once(
    stepped: Any, tmp_path: Path
) -> None:
    root = OsDirectory(tmp_path / "spool", create=True)
    for host in [stepped(MemorySink(), root) for _ in range(10)]:
        host.session("ada").add(10)
        host.track(2)
        kill(host)
    sink = MemorySink()
    start = threading.Barrier(2)

    def adopt(heir: Any) -> None:
        start.wait()
        heir.engine.adopt()
        heir.deliver()

    heirs = [stepped(sink, OsDirectory(tmp_path / "spool")) for _ in range(2)]
    threads = [threading.Thread(target=adopt, args=(heir,)) for heir in heirs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sink.total_bytes(), len(sink.events), sink.repeats) == (120, 20, 0)
    assert sum(heir.stats().adopted.spools for heir in heirs) == 10
    for heir in heirs:
        assert_conserved(heir.stats())


def test_draining_takes_many_dead_spools_a_few_at_a_time(stepped: Any, tmp_path: Path) -> None:
    root = OsDirectory(tmp_path / "spool", create=True)
    count = ADOPTED_AT_ONCE_MAX + 3
    for host in [stepped(MemorySink(), root) for _ in range(count)]:
        host.track(2)
        kill(host)
    sink = MemorySink()
    found, trouble = drain_spools(
        tmp_path / "spool", sink, environment="test_mode", on_progress=lambda _found: None
    )
    assert (found.acknowledged_bytes, trouble) == (2 * count, None)


def test_a_lock_whose_file_was_removed_is_not_held(tmp_path: Path) -> None:
    directory = OsDirectory(tmp_path / "d", create=True)
    flags = os.O_RDWR | os.O_CREAT
    real_open = os.open

    def remove_behind(path: Any, *args: Any, **options: Any) -> int:
        fd = real_open(path, *args, **options)
        if args and args[0] & flags == flags:
            directory.remove("lock")
        return fd

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", remove_behind)
        assert directory.lock("lock") is None
    lock = directory.lock("lock")
    assert lock is not None
    lock.release()


def test_a_session_whose_lock_another_thread_holds_at_a_fork_counts_in_the_child(
    stepped: Any,
) -> None:
    host = stepped(MemorySink())
    session = host.session(kind=LockedStreamSession)
    session.add(1)
    holder = threading.Thread(target=session._block.lock.acquire)
    holder.start()
    holder.join()
    host.engine.coalescer.forget()
    session._home = stepped(MemorySink())
    session.add(2)
    assert session.total == 2
