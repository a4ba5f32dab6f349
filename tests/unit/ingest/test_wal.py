from __future__ import annotations

from typing import Any

import pytest

from streamgauge.core.errors import CorruptError
from streamgauge.server.ingest.rows import numbered
from streamgauge.server.ingest.wal import Wal


def filled(directory: Any, *segments: list[bytes]) -> Wal:
    wal = Wal(directory)
    for records in segments:
        for record in records:
            wal.append(record)
        wal.sync()
        wal.seal()
    return wal


def test_sealed_segments_are_read_back_whole_and_in_order(directory: Any) -> None:
    filled(directory, [b"a", b"b"], [b"c"])
    wal = Wal(directory)
    assert wal.sealed() == [1, 2]
    assert [list(wal.read(segment)) for segment in wal.sealed()] == [[b"a", b"b"], [b"c"]]
    assert wal.newest() == 2


def test_the_newest_segment_counts_only_what_is_on_disk(directory: Any) -> None:
    wal = Wal(directory)
    assert wal.newest() == 0
    wal.append(b"a")
    assert wal.newest() == 0
    wal.sync()
    assert (wal.newest(), wal.sealed()) == (1, [])
    wal.seal()
    assert (wal.newest(), wal.sealed()) == (1, [1])
    wal.seal()
    assert (wal.newest(), wal.sealed()) == (1, [1])


def test_the_mark_survives_and_a_foreign_mark_is_refused(directory: Any) -> None:
    wal = Wal(directory)
    assert wal.mark() == 0
    wal.set_mark(7)
    assert Wal(directory).mark() == 7
    directory.replace("inserted", b"seven\n")
    with pytest.raises(CorruptError, match="inserted is corrupt at byte 0"):
        Wal(directory)


def test_damage_is_named_and_set_aside_and_the_rest_is_read(directory: Any) -> None:
    filled(directory, [b"first", b"second", b"third"], [b"fourth"])
    name = "journal-0000000000000001.seg"
    place = bytes(directory.files[name].data).index(b"second")
    directory.files[name].data[place] ^= 1
    broken = bytes(directory.files[name].data)
    wal = Wal(directory)
    (damage,) = wal.damage()
    assert damage.startswith(f"{name} is corrupt at byte ")
    assert [record for segment in (1, 2) for record in wal.read(segment)] == [
        b"first",
        b"third",
        b"fourth",
    ]
    assert bytes(directory.children["quarantine"].files[name].data) == broken
    wal.remove(1)
    assert bytes(directory.children["quarantine"].files[name].data) == broken


def test_numbering_goes_on_after_everything_was_removed(directory: Any) -> None:
    wal = filled(directory, [b"a"], [b"b"])
    wal.remove(1)
    wal.remove(2)
    wal.close()
    reopened = Wal(directory)
    reopened.append(b"c")
    reopened.sync()
    assert reopened.newest() > 2


def test_rows_are_numbered_across_the_records_of_a_segment_and_get_their_records_head() -> None:
    assert numbered([b'{"h":1}\n{"a":1}\n{"a":2}\n', b'{"h":2}\n{"a":3}\n'], 40) == [
        b'{"h":1,"log_position":40,"a":1}',
        b'{"h":1,"log_position":41,"a":2}',
        b'{"h":2,"log_position":42,"a":3}',
    ]


def test_a_segment_that_never_got_its_head_is_not_waited_for(directory: Any) -> None:
    wal = Wal(directory)
    wal.append(b"row\n")
    wal.sync()
    wal.close()
    directory.open("journal-0000000000000002.seg", create=True)
    again = Wal(directory)
    assert (again.newest(), again.sealed(), again.next_segment()) == (1, [1], 3)


def test_a_number_that_a_failed_sync_skipped_is_not_waited_for(directory: Any) -> None:
    wal = Wal(directory)
    wal.append(b"row\n")
    wal.sync()
    directory.disk.syncs_fail = True
    wal.append(b"more\n")
    with pytest.raises(OSError, match="input/output error"):
        wal.seal()
    directory.disk.syncs_fail = False
    wal.seal()
    wal.seal()
    assert wal.newest() == max(wal.sealed())
    assert [row for each in wal.sealed() for row in wal.read(each)] == [b"row\n", b"more\n"]


def test_an_unfinished_write_is_cut_and_told(directory: Any) -> None:
    wal = Wal(directory)
    wal.append(b"row\n")
    wal.append(b"torn\n")
    wal.close()
    file = directory.open("journal-0000000000000001.seg")
    file.truncate(file.size() - 1)
    assert Wal(directory).torn_bytes > 0
    assert Wal(directory).torn_bytes == 0
