"""The tally: the running counts of one process, in pages that outlive it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from streamgauge.core.errors import StreamgaugeError
from streamgauge.core.files import Directory
from streamgauge.core.ids import Entropy
from streamgauge.core.limits import TALLY_MEMORY_PAGES_MAX, TALLY_PAGE_BYTES
from streamgauge.core.memory import MemoryDirectory
from streamgauge.sdk.block import Block
from streamgauge.sdk.page import PAGE_ID_BYTES, TallyPage


class TallyFullError(StreamgaugeError):
    """The disk takes no page, and there are enough in memory."""

    code = "TALLY_FULL"


class Tally:
    """Pages with their slots; a full page is removed when all its blocks are retired.

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

    def open_slot(
        self, block: Block | None, start_ns: int, timestamp_ns: int, descriptor: bytes
    ) -> Block:
        """Put a slot; its descriptor and window are in its page before its first byte.

        Args:
            block: The window's newest block; None: it has none.
            start_ns: Start of the window.
            timestamp_ns: What its event carries.
            descriptor: Who pays for what.

        Returns:
            The block that the slot belongs to, ``block`` or a new one; it has yet to take it.

        Raises:
            TallyFullError: There is no room for it, on disk or in memory.
        """
        with self._lock:
            page = self._current
            if page in self._in_memory and self._disk_untried:
                page = self._next_page()
            index = page.put(start_ns, timestamp_ns, descriptor) if page else None
            if page is None or index is None:
                page = self._next_page()
                index = page.put(start_ns, timestamp_ns, descriptor)
                assert index is not None, "a page holds at least one descriptor of any size"
            if block is None or block.page is not page:
                block = Block(page, index)
                self._live[page] += 1
            return block

    def retire(self, block: Block) -> None:
        """Give up a block whose counts are wholly in synced events."""
        block.retire()
        with self._lock:
            self._live[block.page] -= 1

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
        """Put pages on disk and then remove those whose blocks are all retired.

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
                with self._lock:
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
