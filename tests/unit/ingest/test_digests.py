from __future__ import annotations

import errno
import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from streamgauge.core.errors import CorruptError
from streamgauge.core.memory import MemoryDirectory
from streamgauge.server.ingest import digests
from streamgauge.server.ingest.digests import DigestFile, DigestIndex
from streamgauge.server.ingest.digests import file as files

# Few different halves, so that equal upper ones with other lower ones are met.
halves = some.sampled_from([0, 1, 2, 7, 2**32, 2**63, 2**64 - 2, 2**64 - 1])
digest = some.one_of(
    some.binary(min_size=16, max_size=16),
    some.tuples(halves, halves).map(lambda pair: struct.pack("<QQ", *pair)),
)


def merged(directory: Any, name: str, inputs: list[DigestFile]) -> DigestFile:
    *steps, last = digests.merge(directory, name, inputs)
    assert steps == [None] * len(steps)
    assert last is not None
    return last


@given(some.lists(some.sets(digest, min_size=1, max_size=20), min_size=1, max_size=6), digest)
def test_an_index_holds_what_a_set_holds(groups: list[set[bytes]], absent: bytes) -> None:
    directory, index, model = MemoryDirectory(), DigestIndex(), set[bytes]()
    opened: list[DigestFile] = []
    for number, group in enumerate(groups):
        index.add(group - model)
        model |= group
        if frozen := index.freeze():
            opened.append(digests.write(directory, f"file-{number}", b"".join(frozen)))
            assert index.known(list(model)) == [True] * len(model)
            index.bring(opened[-1], [])
        if len(opened) == 3:
            replaced, opened = opened, [merged(directory, f"merged-{number}", opened)]
            index.bring(opened[0], replaced)
        asked = [*model, absent]
        assert index.known(asked) == [each in model for each in asked]
    assert len(index) == len(model)
    index.close()
    again = DigestIndex([digests.read(directory, file.name) for file in opened])
    again.add(model - {each for each in model if again.known([each])[0]})
    assert again.known([*model, absent]) == [True] * len(model) + [absent in model]


def test_files_of_many_steps_are_written_read_and_merged_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "_STEP", 100)
    directory, chance = MemoryDirectory(), random.Random(3)
    inputs = [[chance.randbytes(16) for _ in range(size)] for size in (1_234, 1, 100, 800)]
    opened = [
        digests.write(directory, f"file-{size}", b"".join(group))
        for size, group in enumerate(inputs)
    ]
    merged(directory, "merged", opened)
    index = DigestIndex([digests.read(directory, "merged")])
    everything = [each for group in inputs for each in group]
    assert len(index) == len(everything) == 2_135
    assert all(index.known(everything))
    assert not any(index.known([chance.randbytes(16) for _ in range(2_000)]))


def test_a_changed_byte_anywhere_is_found_and_costs_no_more_than_its_digest() -> None:
    directory, chance = MemoryDirectory(), random.Random(4)
    group = [chance.randbytes(16) for _ in range(50)]
    digests.write(directory, "file", b"".join(group)).close()
    data = bytes(directory.files["file"].data)
    for at in [*range(24), *range(4_096, len(data), 7)]:
        directory.files["file"].data[at] ^= 0x20
        with pytest.raises(CorruptError):
            digests.read(directory, "file")
        found = digests.salvage(directory, "file")
        pieces = {found[start : start + 16] for start in range(0, len(found), 16)}
        assert len(pieces & set(group)) >= 49
        directory.files["file"].data[at] ^= 0x20
    directory.files["file"].truncate(len(data) - 1)
    with pytest.raises(CorruptError, match="bytes for 50 digests"):
        digests.read(directory, "file")


def test_a_file_that_the_disk_refuses_is_not_left_half_made(directory: Any) -> None:
    one = digests.write(directory, "one", bytes(range(16)))
    two = digests.write(directory, "two", bytes(range(16, 32)))
    directory.disk.writes_fail = True
    with pytest.raises(OSError, match="no space") as refused:
        digests.write(directory, "new", bytes(range(32, 48)))
    assert refused.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="no space"):
        list(digests.merge(directory, "merged", [one, two]))
    assert directory.names() == ["one", "two"]
    directory.disk.writes_fail = False
    assert merged(directory, "merged", [one, two]).size == 2


def test_a_merge_that_is_given_up_leaves_nothing() -> None:
    directory = MemoryDirectory()
    inputs = [digests.write(directory, name, name.encode() * 16) for name in ("a", "b")]
    steps = digests.merge(directory, "merged", inputs)
    assert next(steps) is None
    assert "merged" in directory.names()
    steps.close()  # type: ignore[attr-defined]
    assert directory.names() == ["a", "b"]
