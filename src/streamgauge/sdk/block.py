"""A block: the slots of one page that one window uses; they are neighbours.

Slots are words in a page and nothing else: a hundred thousand open ones are no object each, so
they cost 64 bytes, and the garbage collector has nothing to look at.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable
from typing import Final, Protocol

from streamgauge.sdk.page import BASE, NEXT, SLOT_WORDS, SPOOLED, TIMESTAMP, TallyPage, first_word
from streamgauge.sdk.records import Source, Stretch

_SLOTS_BEFORE: Final = first_word(0) // SLOT_WORDS
_SPOOLED_OF_FIRST: Final = first_word(0) + SPOOLED


class Proof(Protocol):
    """Knows how many bytes of a stream arrived."""

    @property
    def awaited(self) -> bool:
        """Return whether its stream has ended and bytes of it are still on their way."""
        ...

    def refresh(self) -> None:
        """Call ``settle`` of its sessions with what is known now; no lock of the SDK is held."""
        ...

    def give_up(self) -> None:
        """Call ``finish`` of its sessions: the process ends, nothing more will be known."""
        ...


class Holder(Protocol):
    """A session of which not every byte may be billed yet."""

    @property
    def evidence(self) -> Proof | None:
        """Return who knows which of the bytes arrived, if somebody does."""
        ...

    def forget(self) -> None:
        """Start from zero, in a process that was forked."""
        ...


class Block:
    """The slots of one page in one window.

    A slot's place ``at`` is that of its count among the page's words.

    Args:
        page: Where the slots are.
        first: The index of its first slot.

    Attributes:
        page: Where the slots are.
        words: The page's words, for sessions. They are released when the window ends: that sends
            every session's next chunk to its home at once, however many sessions there are.
        is_open: Whether sessions may count here.
        is_forgotten: Whether this is the child of a fork, and what is counted here the parent's.
        lock: Makes an addition whole on interpreters without a global lock.
        used: How many slots it has.
        sure: How much of a slot's count may be in events, by place; all of it if not here.
        holders: Whose these slots are, by place.
        layers: The layer of slots whose bytes are only told, by place.
        is_unsynced: Whether more of it is in events than the bases say.
    """

    __slots__ = ("_first", "_last_counts", "holders", "is_forgotten", "is_open", "is_unsynced",
                 "layers", "lock", "page", "sure", "used", "words")  # fmt: skip

    def __init__(self, page: TallyPage, first: int) -> None:
        self.page = page
        self.words: memoryview[int] = page.words[:]
        self.lock = threading.RLock()
        self.is_open = True
        self.is_forgotten = False
        self.is_unsynced = False
        self.used = 0
        self.sure: dict[int, int] = {}
        self.holders: dict[int, Callable[[], Holder | None]] = {}
        self.layers: dict[int, str] = {}
        self._first = first_word(first)
        self._last_counts: array[int] = array("Q")

    def take(self, following: int) -> int:
        """Return the place of the slot that was put last; ``following`` names one of its group."""
        at = self._first + self.used * SLOT_WORDS
        self.page.words[at + NEXT] = following
        self.used += 1
        return at

    def following(self, at: int) -> int:
        """Return what ``take`` was told."""
        return self.page.words[at + NEXT]

    def count(self, at: int) -> int:
        """Return the bytes counted in a slot, also when the page is gone."""
        try:
            return self.page.words[at]
        except ValueError:
            return self._last_counts[(at - self._first) // SLOT_WORDS]

    def unspooled(self, at: int) -> Stretch | None:
        """Return what of a slot may be in an event and is in none yet, or None."""
        page = self.page
        words = page.words
        count = self.sure.get(at, -1) if self.sure else -1
        if count < 0:
            count = words[at]
        start = words[at + SPOOLED]
        if count == start:
            return None
        layer = self.layers.get(at, "") if self.layers else ""
        source = Source(page.page_id, at // SLOT_WORDS - _SLOTS_BEFORE, start, count)
        return Stretch(words[at + TIMESTAMP], source, layer)

    def is_pending(self, at: int) -> bool:
        """Return whether bytes of a slot are in no event."""
        words = self.page.words
        return at in self.sure or words[at] != words[at + SPOOLED]

    def mark_spooled(self, source: Source) -> None:
        """Note that an event has these bytes."""
        self.page.words[_SPOOLED_OF_FIRST + source.slot * SLOT_WORDS] = source.end
        self.is_unsynced = True

    def advance(self) -> None:
        """Write to the page what was spooled and is now synced."""
        if self.is_unsynced:
            self.is_unsynced = False
            used = self.used
            self._column(BASE, used)[:] = self._column(SPOOLED, used)

    def sums(self) -> tuple[int, int]:
        """Return the bytes counted here that are billed, and of these the bytes in events."""
        counted, spooled = sum(self._column(0, self.used)), sum(self._column(SPOOLED, self.used))
        for at in self.layers:
            counted -= self.page.words[at]
            spooled -= self.page.words[at + SPOOLED]
        return counted, spooled

    def is_done(self) -> bool:
        """Return whether every byte is in a synced event, and no more will come."""
        if self.is_open or self.sure:
            return False
        return self._column(0, self.used) == self._column(BASE, self.used)

    def close(self) -> None:
        """Let nothing more be added by sessions; when this returns the counts are final."""
        with self.lock:
            self.is_open = False
            self.words.release()

    def retire(self) -> None:
        """Keep the counts for sessions that have not gone on yet; the page may go."""
        counts = array("Q")
        counts.frombytes(self._column(0, self.used).tobytes())
        self._last_counts = counts

    def forget(self) -> None:
        """Leave all to the parent, in a process that was forked; who held the lock is gone."""
        self.lock = threading.RLock()
        self.is_forgotten = True
        self.is_open = False
        self.words.release()
        for holder in self.holders.copy().values():
            if (session := holder()) is not None:
                session.forget()

    def _column(self, word: int, used: int) -> memoryview[int]:
        end = self._first + used * SLOT_WORDS
        return self.page.words[self._first + word : end : SLOT_WORDS]
