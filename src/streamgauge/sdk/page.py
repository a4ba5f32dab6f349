"""A tally page: a mapped file of counts that outlives its process.

Layout, in 64-bit words of the machine's byte order: a head of 64 bytes (magic, byte order mark,
page id, checksum), then slots of 64 bytes from the front, then free space, then descriptors packed
against the end. A slot is ``count, base, window start, timestamp, place of its descriptor, seal``
and two words of which only the living owner makes sense, ``spooled`` and ``next``. ``base`` is how
much of the count is in events that are synced. The seal is written last and carries a checksum of
what lies between base and it, so a slot is whole or not there. Slots are never used again: a slot's
page id and index name it for ever.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from streamgauge.core.errors import CorruptError
from streamgauge.core.files import Directory, Page

HEAD_BYTES: Final = 64
SLOT_BYTES: Final = 64
PAGE_ID_BYTES: Final = 16
SUFFIX: Final = ".page"
PREFIX: Final = "tally-"

_MAGIC: Final = b"SGTALY01"
_HEAD: Final = struct.Struct("=8sQ16s")
_CHECKSUM: Final = struct.Struct("=I")
_ORDER_MARK: Final = 0x0102030405060708
_WORD: Final = 8
SLOT_WORDS: Final = SLOT_BYTES // _WORD
_COUNT, BASE, _WINDOW, TIMESTAMP, _PLACE, _SEAL, SPOOLED, NEXT = range(SLOT_WORDS)
# Enough for descriptors that come again; not a second index of a page in which none does.
_PLACES_MAX: Final = 1_024
_SEALED_BIT: Final = 1 << 63
_NAMED: Final = struct.Struct("=QQQ")


class SlotImage(msgspec.Struct, frozen=True, kw_only=True):
    """A slot as found in a page.

    Attributes:
        index: Its place in the page.
        count: Bytes counted in it.
        base: Of these, known to be in events.
        window_start_ns: Start of the UTC window it counts.
        timestamp_ns: The timestamp its event carries.
        descriptor: Who pays for what (see ``sdk.groups``).
    """

    index: int
    count: int
    base: int
    window_start_ns: int
    timestamp_ns: int
    descriptor: bytes


class TallyPage:
    """A page, new or found; one owner writes it.

    Args:
        page: The mapping.
        name: Its file name, for messages.

    Raises:
        CorruptError: It is no tally page of this format and byte order.
    """

    def __init__(self, page: Page, name: str) -> None:
        self._page = page
        self.name = name
        self._view = page.view
        self._heap = len(self._view) // _WORD * _WORD
        self._places: dict[bytes, int] = {}
        self.words = self._view[: self._heap].cast("Q")
        self.page_id = self._read_head()
        self.used = 0

    @classmethod
    def create(cls, directory: Directory, page_id: bytes, size_bytes: int) -> TallyPage:
        """Make a page file of fixed size; its blocks are reserved.

        Raises:
            OSError: The directory or the disk refuses.
        """
        name = page_name(page_id)
        page = directory.map(name, size_bytes)
        head = _HEAD.pack(_MAGIC, _ORDER_MARK, page_id)
        page.view[: len(head)] = head
        page.view[len(head) : len(head) + _CHECKSUM.size] = _CHECKSUM.pack(zlib.crc32(head))
        return cls(page, name)

    def put(self, window_start_ns: int, timestamp_ns: int, descriptor: bytes) -> int | None:
        """Open the next slot, everything but its count, and return its index; None: full."""
        index = self.used
        first = first_word(index)
        place = self._places.get(descriptor)
        heap = self._heap if place is not None else self._heap - len(descriptor)
        if (first * _WORD) + SLOT_BYTES > heap:
            self._places.clear()
            return None
        if place is None:
            self._view[heap : heap + len(descriptor)] = descriptor
            self._heap = heap
            place = heap << 32 | len(descriptor)
            if len(self._places) >= _PLACES_MAX:
                self._places.clear()
            self._places[descriptor] = place
        words = self.words
        words[first + _WINDOW] = window_start_ns
        words[first + TIMESTAMP] = timestamp_ns
        words[first + _PLACE] = place
        words[first + _SEAL] = _seal(window_start_ns, timestamp_ns, place, descriptor)
        self.used = index + 1
        return index

    def advance(self, index: int, base: int) -> None:
        """Note that the first ``base`` bytes of a slot are in synced events."""
        self.words[first_word(index) + BASE] = base

    def slots(self) -> Iterator[SlotImage | CorruptError]:
        """Yield every slot that was opened, and what is damaged."""
        end = len(self.words) * _WORD
        index = 0
        while (at := HEAD_BYTES + index * SLOT_BYTES) + SLOT_BYTES <= end:
            words = self.words[at // _WORD : (at + SLOT_BYTES) // _WORD].tolist()
            if not words[_SEAL] and not words[_COUNT]:
                return
            image = self._image(index, words)
            if isinstance(image, SlotImage):
                end = min(end, words[_PLACE] >> 32)
            yield image
            index += 1

    def sync(self) -> None:
        """Return when counts and descriptors are on disk."""
        self._page.sync()

    def close(self) -> None:
        """Let go of the mapping; blocks must have let go of their words."""
        self.words.release()
        self._page.close()

    def _image(self, index: int, words: list[int]) -> SlotImage | CorruptError:
        offset, length = words[_PLACE] >> 32, words[_PLACE] & 0xFFFFFFFF
        descriptor = bytes(self._view[offset : offset + length])
        seal = _seal(words[_WINDOW], words[TIMESTAMP], words[_PLACE], descriptor)
        if seal != words[_SEAL] or len(descriptor) != length:
            at = HEAD_BYTES + index * SLOT_BYTES
            return CorruptError(self.name, at, f"slot {index} holds {words[_COUNT]} unnamed bytes")
        return SlotImage(
            index=index,
            count=words[_COUNT],
            base=words[BASE],
            window_start_ns=words[_WINDOW],
            timestamp_ns=words[TIMESTAMP],
            descriptor=descriptor,
        )

    def _read_head(self) -> bytes:
        head = bytes(self._view[: _HEAD.size])
        checksum = bytes(self._view[_HEAD.size : _HEAD.size + _CHECKSUM.size])
        if len(self._view) < HEAD_BYTES or checksum != _CHECKSUM.pack(zlib.crc32(head)):
            raise CorruptError(self.name, 0, "the page's head is damaged")
        magic, order, page_id = _HEAD.unpack(head)
        if magic != _MAGIC or order != _ORDER_MARK or page_name(page_id) != self.name:
            raise CorruptError(self.name, 0, "it is no tally page of this format")
        assert isinstance(page_id, bytes)
        return page_id


def first_word(index: int) -> int:
    """Return the place of a slot's first word, its count, among the page's words."""
    return (HEAD_BYTES + index * SLOT_BYTES) // _WORD


def is_unborn(front: bytes) -> bool:
    """Return whether a page that starts with ``front`` died before its first slot was open.

    Args:
        front: The first ``HEAD_BYTES + SLOT_BYTES`` of the file, or all of it if it is shorter.
    """
    seal_at = HEAD_BYTES + _SEAL * _WORD
    begun = front[: len(_MAGIC)].strip(b"\0") in {b"", _MAGIC}
    return begun and not any(front[seal_at : seal_at + _WORD])


def page_name(page_id: bytes) -> str:
    """Return the file name of a page."""
    return f"{PREFIX}{page_id.hex()}{SUFFIX}"


def _seal(window_start_ns: int, timestamp_ns: int, place: int, descriptor: bytes) -> int:
    named = _NAMED.pack(window_start_ns, timestamp_ns, place)
    return _SEALED_BIT | zlib.crc32(descriptor, zlib.crc32(named))
