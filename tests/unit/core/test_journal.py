from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.files import File
from streamgauge.core.frames import HEAD_BYTES
from streamgauge.core.journal import HEADER_BYTES, Journal, Position
from streamgauge.core.memory import MemoryDirectory, MemoryFile

RECORDS = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=12)


class StubbornFile(MemoryFile):
    """Refuses to sync while its directory is told to."""

    refusals = 0

    def sync(self) -> None:
        if StubbornFile.refusals > 0:
            StubbornFile.refusals -= 1
            raise OSError(errno.EIO, "the disk refuses")


class StubbornDirectory(MemoryDirectory):
    def _new_file(self) -> MemoryFile:
        return StubbornFile()


@pytest.fixture(autouse=True)
def _no_refusals() -> None:
    StubbornFile.refusals = 0


def everything(journal: Journal) -> list[bytes]:
    return [record for each in journal.segments() for _, record in journal.read(each)]


def copy(directory: MemoryDirectory) -> MemoryDirectory:
    twin = MemoryDirectory()
    for name, file in directory.files.items():
        twin.files[name] = MemoryFile()
        twin.files[name].data.extend(file.data)
    return twin


@given(RECORDS, st.integers(min_value=HEADER_BYTES, max_value=200))
def test_records_come_back_whole_and_in_order(records: list[bytes], segment_bytes: int) -> None:
    directory = MemoryDirectory()
    journal = Journal(directory, segment_bytes_max=segment_bytes)
    for record in records:
        journal.append(record)
    assert everything(journal) == records
    again = Journal(directory)
    assert everything(again) == records
    assert again.recovery.records == len(records)
    assert again.recovery.torn_bytes == 0


@given(RECORDS)
def test_truncation_at_every_byte_recovers_exactly_the_prefix(records: list[bytes]) -> None:
    directory = MemoryDirectory()
    journal = Journal(directory)
    ends = [HEADER_BYTES]
    for record in records:
        journal.append(record)
        ends.append(journal.end.offset)
    (name,) = directory.names()
    for size in range(HEADER_BYTES, journal.end.offset + 1):
        cut = copy(directory)
        cut.files[name].truncate(size)
        recovered = Journal(cut)
        whole = sum(end <= size for end in ends) - 1
        assert everything(recovered) == records[:whole]
        assert recovered.recovery.torn_bytes == size - ends[whole]
        assert recovered.recovery.corrupt == ()
        recovered.append(b"next")
        assert everything(Journal(cut)) == [*records[:whole], b"next"]


@given(RECORDS, st.data())
def test_a_flipped_bit_costs_one_record_and_is_named(
    records: list[bytes], data: st.DataObject
) -> None:
    directory = MemoryDirectory()
    journal = Journal(directory)
    starts = [journal.append(record).offset for record in [*records, b"last"]]
    (name,) = directory.names()
    at = data.draw(st.integers(HEADER_BYTES, starts[-1] - 1))
    directory.files[name].data[at] ^= 1 << data.draw(st.integers(0, 7))
    hit = sum(start <= at for start in starts) - 1
    recovered = Journal(directory)
    assert everything(recovered) == [*records[:hit], *records[hit + 1 :], b"last"]
    (corrupt,) = recovered.recovery.corrupt
    assert corrupt.where == name
    assert corrupt.offset == starts[hit]


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.integers(0, 3)), max_size=20))
def test_refused_syncs_neither_lose_nor_double_a_record(steps: list[tuple[bytes, int]]) -> None:
    directory = StubbornDirectory()
    journal = Journal(directory, segment_bytes_max=120)
    appended = []
    for record, refusals in steps:
        journal.append(record)
        appended.append(record)
        StubbornFile.refusals = refusals
        try:
            end = journal.sync()
        except OSError:
            assert refusals > 0
        else:
            assert end == journal.end == journal.synced
        assert everything(journal) == appended
        StubbornFile.refusals = 0
        assert everything(Journal(copy(directory))) == appended
    journal.sync()
    assert everything(Journal(directory)) == appended


def test_a_refused_sync_never_syncs_the_same_segment_again() -> None:
    directory = StubbornDirectory()
    journal = Journal(directory)
    first = journal.append(b"kept")
    journal.sync()
    journal.append(b"moved")
    StubbornFile.refusals = 1
    end = journal.sync()
    assert end.segment == first.segment + 1
    assert list(journal.read(first.segment)) == [(first, b"kept")]
    assert [record for _, record in journal.read(end.segment)] == [b"moved"]


def test_appends_after_a_captured_target_are_synced_by_the_next_call(tmp_path: Path) -> None:
    journal = Journal(OsDirectory(tmp_path / "log", create=True), segment_bytes_max=90)
    for number in range(20):
        journal.append(b"%d" % number)
        if number % 3 == 0:
            journal.sync()
    journal.sync()
    assert journal._dirty == {}
    journal.close()


def test_rolling_seals_a_segment_once_it_has_records() -> None:
    journal = Journal(MemoryDirectory())
    assert journal.roll() is None
    journal.append(b"one")
    assert journal.roll() == 1
    assert journal.roll() is None
    assert journal.append(b"two") == Position(2, HEADER_BYTES)
    assert journal.synced == Position(2, HEADER_BYTES)


def test_a_roll_whose_sync_was_refused_is_settled_by_the_next() -> None:
    journal = Journal(StubbornDirectory())
    journal.append(b"one")
    StubbornFile.refusals = 2
    with pytest.raises(OSError, match="the disk refuses"):
        journal.roll()
    assert journal.roll() is None
    assert journal.synced == journal.end
    assert everything(journal) == [b"one"]


def test_numbering_goes_on_when_every_segment_was_removed() -> None:
    directory = MemoryDirectory()
    journal = Journal(directory)
    for number in range(3):
        journal.append(b"%d" % number)
        segment = journal.roll()
        assert segment is not None
        journal.remove(segment)
    assert everything(journal) == []
    assert Journal(directory).append(b"x").segment > 3


def test_reading_starts_at_the_given_offset() -> None:
    journal = Journal(MemoryDirectory())
    journal.append(b"one")
    second = journal.append(b"two")
    assert list(journal.read(1, second.offset)) == [(second, b"two")]
    assert second.offset == HEADER_BYTES + HEAD_BYTES + len(b"one")


def test_an_empty_record_is_refused_and_changes_nothing() -> None:
    journal = Journal(MemoryDirectory())
    with pytest.raises(InvalidInputError, match="record"):
        journal.append(b"")
    assert journal.end == Position(1, HEADER_BYTES)


class FullFile(MemoryFile):
    def write_at(self, offset: int, data: bytes) -> None:
        if len(data) > 50:
            super().write_at(offset, data[:50])
            raise OSError(errno.ENOSPC, "no space left")
        super().write_at(offset, data)


def test_a_write_that_fails_half_way_leaves_no_trace() -> None:
    class FullDirectory(MemoryDirectory):
        def open(self, name: str, *, create: bool = False) -> File:
            if create:
                self.files[name] = FullFile()
            return super().open(name)

    directory = FullDirectory()
    journal = Journal(directory)
    journal.append(b"before")
    with pytest.raises(OSError, match="no space"):
        journal.append(b"x" * 60)
    journal.append(b"after")
    assert everything(journal) == [b"before", b"after"]
    assert everything(Journal(copy(directory))) == [b"before", b"after"]


def test_a_damaged_head_is_named_and_its_records_are_kept() -> None:
    directory = MemoryDirectory()
    journal = Journal(directory)
    journal.append(b"one")
    journal.roll()
    journal.append(b"two")
    directory.files[directory.names()[0]].data[3] ^= 0xFF
    recovered = Journal(directory)
    assert everything(recovered) == [b"one", b"two"]
    assert [each.offset for each in recovered.recovery.corrupt] == [0]


@pytest.mark.parametrize("size", [0, 1, HEADER_BYTES - 1])
def test_a_segment_that_never_got_its_head_is_dropped(size: int) -> None:
    directory = MemoryDirectory()
    Journal(directory).append(b"one")
    directory.files["journal-0000000000000002.seg"] = MemoryFile()
    directory.files["journal-0000000000000002.seg"].data.extend(bytes(size))
    recovered = Journal(directory)
    assert everything(recovered) == [b"one"]
    assert recovered.append(b"two").segment > 1
