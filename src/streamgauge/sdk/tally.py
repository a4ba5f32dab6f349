"""The tally: the running counts of one process, in pages that outlive it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from streamgauge.core.errors import StreamgaugeError
from streamgauge.core.files import Directory
from streamgauge.core.ids import Entropy
from streamgauge.core.limits import TALLY_MEMORY_PAGES_MAX, TALLY_PAGE_BYTES
from streamgauge.core.memory import MemoryDirectory
from streamgauge.sdk.page import PAGE_ID_BYTES, TallyPage
from streamgauge.sdk.records import Source, Stretch


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


class TallyFullError(StreamgaugeError):
    """The disk takes no page, and there are enough in memory."""

    code = "TALLY_FULL"


class Holder(Protocol):
    """Who adds to a slot."""

    @property
    def proof(self) -> Proof | None:
        """Return who knows which of the bytes arrived, if somebody does."""
        ...

    def detach(self) -> Slot | None:
        """Let go of the slot, if there is one."""
        ...

    def forget(self) -> None:
        """Start from zero, in a process that was forked."""
        ...


def nobody() -> None:
    """Stand for the reference to the holder of a slot that nobody holds."""


class Slot:
    """One cumulative count: bytes of one group in one window, added by one session at a time.

    ``spooled`` is how much of it is in events; ``base``, in the page, follows when they are synced.
    ``sure`` is how much of it may be; None: all.
    """

    __slots__ = (
        "base",
        "cell",
        "holder",
        "idle",
        "index",
        "is_open",
        "layer",
        "page",
        "spooled",
        "sure",
        "timestamp_ns",
    )

    def __init__(self, page: TallyPage, index: int, timestamp_ns: int) -> None:
        self.page = page
        self.index = index
        self.timestamp_ns = timestamp_ns
        self.cell = page.cell(index)
        self.spooled = 0
        self.sure: int | None = None
        self.base = 0
        self.layer = ""
        self.is_open = True
        self.idle: list[Slot] = []
        self.holder: Callable[[], Holder | None] = nobody

    def unspooled(self) -> Stretch | None:
        """Return the stretch that may be in an event and is in none yet, or None."""
        count = self.cell[0] if self.sure is None else self.sure
        if count == self.spooled:
            return None
        source = Source(self.page.page_id, self.index, self.spooled, count)
        return Stretch(self.timestamp_ns, source, self.layer)

    def advance(self) -> None:
        """Write to the page what was spooled and is now synced."""
        if self.base != self.spooled:
            self.page.advance(self.index, self.spooled)
            self.base = self.spooled


class Tally:
    """Pages with their slots; a full page is removed when all its slots are retired.

    Args:
        directory: Where page files are made.
        entropy: Gives page ids.
        page_bytes: Size of a page.
        on_trouble: Told when a page could not be made on disk and is in memory instead.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        entropy: Entropy,
        page_bytes: int = TALLY_PAGE_BYTES,
        on_trouble: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._entropy = entropy
        self._page_bytes = page_bytes
        self._on_trouble = on_trouble
        self._lock = threading.RLock()
        self._sync_lock = threading.RLock()
        self._live: dict[TallyPage, int] = {}
        self._current: TallyPage | None = None
        self._in_memory: set[TallyPage] = set()
        # While counts are in memory, the disk is asked again once after every sweep.
        self._disk_untried = False

    @property
    def on_disk(self) -> bool:
        """Return whether every live page is a file."""
        return not self._in_memory

    def open_slot(self, window_start_ns: int, timestamp_ns: int, descriptor: bytes) -> Slot:
        """Return a new slot; its descriptor and window are in its page before its first byte.

        Raises:
            TallyFullError: There is no room for it, on disk or in memory.
        """
        with self._lock:
            page = self._current
            if page in self._in_memory and self._disk_untried:
                page = self._next_page()
            index = page.put(window_start_ns, timestamp_ns, descriptor) if page else None
            if page is None or index is None:
                page = self._next_page()
                index = page.put(window_start_ns, timestamp_ns, descriptor)
                assert index is not None, "a page holds at least one descriptor of any size"
            self._live[page] += 1
            return Slot(page, index, timestamp_ns)

    def retire(self, slot: Slot) -> None:
        """Give up a slot whose count is wholly in synced events."""
        with self._lock:
            self._live[slot.page] -= 1

    def sync(self) -> None:
        """Put all pages on disk.

        Raises:
            OSError: The disk refuses.
        """
        with self._sync_lock:
            with self._lock:
                pages = list(self._live)
            for page in pages:
                page.sync()
            self._directory.sync()

    def sweep(self, *, closing: bool = False) -> None:
        """Put pages on disk and then remove those whose slots are all retired.

        In this order, lest a loss of power brings back an older state of a page. The page in use
        stays, unless the tally is ``closing``.

        Raises:
            OSError: The disk refuses.
        """
        with self._sync_lock:
            self._disk_untried = True
            self.sync()
            with self._lock:
                keep = None if closing else self._current
                spent = [page for page, live in self._live.items() if page is not keep and not live]
                for page in spent:
                    self._directory.remove(page.name)
                    del self._live[page]
                    self._in_memory.discard(page)
                    page.close()

    def _next_page(self) -> TallyPage:
        page_id = self._entropy(PAGE_ID_BYTES)
        try:
            page = TallyPage.create(self._directory, page_id, self._page_bytes)
        except OSError as error:
            self._on_trouble(f"no tally page on disk, counts are in memory for now: {error}")
            if self._current in self._in_memory and self._disk_untried:
                self._disk_untried = False
                return self._current
            self._disk_untried = False
            if len(self._in_memory) >= TALLY_MEMORY_PAGES_MAX:
                raise TallyFullError(f"no page can be made: {error}") from error
            page = TallyPage.create(MemoryDirectory(), page_id, self._page_bytes)
            self._in_memory.add(page)
        self._current = page
        self._live[page] = 0
        return page
