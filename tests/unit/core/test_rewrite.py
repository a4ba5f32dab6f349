from __future__ import annotations

from pathlib import Path

import pytest

from streamgauge.core.disk import OsDirectory
from streamgauge.core.journal import Journal
from streamgauge.core.memory import MemoryDirectory


def records(journal: Journal, segment: int) -> list[bytes]:
    return [record for _, record in journal.read(segment)]


def test_a_synced_segment_is_rewritten_in_place() -> None:
    directory = MemoryDirectory()
    journal = Journal(directory)
    for text in (b"one secret", b"two", b"three secret"):
        journal.append(text)
    segment = journal.roll()
    assert segment is not None
    journal.append(b"a secret of the next")
    journal.sync()
    journal.rewrite(segment, lambda record: record.replace(b" secret", b""))
    size = journal.size_bytes()
    journal.close()
    again = Journal(directory)
    assert again.recovery.corrupt == ()
    assert records(again, segment) == [b"one", b"two", b"three"]
    assert records(again, segment + 1) == [b"a secret of the next"]
    assert again.size_bytes() == size
    again.close()


def test_a_segment_that_is_written_to_or_gone_is_not_rewritten() -> None:
    journal = Journal(MemoryDirectory())
    active = journal.append(b"one").segment
    for segment in (active, active + 7):
        with pytest.raises(FileNotFoundError):
            journal.rewrite(segment, lambda record: record)
    journal.close()


def test_damage_stays_where_it_is_and_the_rest_is_rewritten(tmp_path: Path) -> None:
    directory = OsDirectory(tmp_path / "log", create=True)
    journal = Journal(directory)
    for text in (b"one secret", b"to be damaged", b"three secret"):
        journal.append(text)
    segment = journal.roll()
    assert segment is not None
    journal.close()
    (file,) = (tmp_path / "log").glob("*.seg")
    file.write_bytes(file.read_bytes().replace(b"to be", b"TO BE"))
    opened = Journal(directory)
    opened.rewrite(segment, lambda record: record.replace(b" secret", b""))
    opened.close()
    assert b"TO BE damaged" in file.read_bytes()
    again = Journal(directory)
    assert records(again, segment) == [b"one", b"three"]
    assert len(again.recovery.corrupt) == 1
    again.close()
