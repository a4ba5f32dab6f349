from __future__ import annotations

import pytest

from streamgauge.core.errors import CorruptError
from streamgauge.core.memory import MemoryDirectory
from streamgauge.sdk.page import SlotImage, TallyPage, first_word, is_unborn, page_name

PAGE_ID = bytes(range(16))


def reopened(directory: MemoryDirectory) -> TallyPage:
    name = page_name(PAGE_ID)
    return TallyPage(directory.map(name), name)


def test_a_page_is_read_back_as_it_was_filled() -> None:
    directory = MemoryDirectory()
    page = TallyPage.create(directory, PAGE_ID, 1_024)
    filled: list[int] = []
    while (index := page.put(60, 61 + len(filled), b"group %d" % (len(filled) % 2))) is not None:
        page.words[first_word(index)] += 1_000 + index
        page.advance(index, index)
        filled.append(index)
    images = list(reopened(directory).slots())
    assert len(images) == len(filled) > 10
    for index, image in enumerate(images):
        assert image == SlotImage(
            index=index,
            count=1_000 + index,
            base=index,
            window_start_ns=60,
            timestamp_ns=61 + index,
            descriptor=b"group %d" % (index % 2),
        )


def test_equal_descriptors_are_kept_once() -> None:
    sizes = []
    for descriptors in ([b"x" * 100] * 9, [b"x%d" % n + b"x" * 98 for n in range(9)]):
        page = TallyPage.create(MemoryDirectory(), PAGE_ID, 1_024)
        sizes.append(sum(page.put(0, 0, descriptor) is not None for descriptor in descriptors))
    assert sizes == [9, 5]


@pytest.mark.parametrize("at", range(36))
def test_a_damaged_head_is_found(at: int) -> None:
    directory = MemoryDirectory()
    TallyPage.create(directory, PAGE_ID, 1_024)
    directory.files[page_name(PAGE_ID)].data[at] ^= 1
    with pytest.raises(CorruptError):
        reopened(directory)


def test_a_page_under_another_name_is_refused() -> None:
    directory = MemoryDirectory()
    TallyPage.create(directory, PAGE_ID, 1_024)
    with pytest.raises(CorruptError):
        TallyPage(directory.map(page_name(PAGE_ID)), page_name(bytes(16)))


@pytest.mark.parametrize("word", [2, 3, 4, 5])
def test_damage_that_changes_who_pays_or_when_is_found(word: int) -> None:
    directory = MemoryDirectory()
    page = TallyPage.create(directory, PAGE_ID, 1_024)
    page.put(60, 61, b"group")
    page.words[first_word(0)] = 5
    page.words[8 + word] ^= 4
    (found,) = reopened(directory).slots()
    assert isinstance(found, CorruptError)
    assert "5 unnamed bytes" in str(found)


def test_a_page_without_a_slot_was_never_born() -> None:
    directory = MemoryDirectory()
    page = TallyPage.create(directory, PAGE_ID, 1_024)
    data = directory.files[page_name(PAGE_ID)].data
    assert is_unborn(bytes(data[:128]))
    assert is_unborn(bytes(128))
    assert is_unborn(b"")
    assert not is_unborn(b"somebody's notes")
    page.put(60, 61, b"group")
    assert not is_unborn(bytes(data[:128]))
