"""The coalescer: one event per group and window out of many counts, each byte in exactly one.

The order of ``tick`` is what a crash at any step relies on: read the slots, append the events,
sync the journal, advance the slots' base, and only then let the deliverer have the events.

A window ends in one step, whatever it holds. Its events are made a few at a time, and in between
every other thread has its turn: one that wants a slot waits for no more than these few.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final

from streamgauge.core.clock import Clock
from streamgauge.core.limits import (
    EVENTS_MADE_AT_ONCE,
    EVENTS_UNSYNCED_MAX,
    OPEN_GROUPS_MAX,
    SLOTS_READ_AT_ONCE,
)
from streamgauge.sdk.block import Block
from streamgauge.sdk.groups import Group, split_layer
from streamgauge.sdk.notices import Notices
from streamgauge.sdk.session import StreamSession
from streamgauge.sdk.spool import Spool
from streamgauge.sdk.tally import Tally, TallyFullError
from streamgauge.sdk.window import Fresh, Place, Window, awaits, refresh
from streamgauge.sdk.windows import Windows

# Long enough for a thread that waits to be woken.
_TURN_S: Final = 0.000_05
_TAKEN_BACK_AT_ONCE: Final = 64


class Coalescer:
    """Slots for sessions, and events out of slots.

    Args:
        tally: Where slots are.
        spool: Where events go.
        clock: Says which window it is.
        window_s: Length of a window in seconds.
        notices: Told of bytes that come after the end.
    """

    def __init__(
        self, tally: Tally, spool: Spool, *, clock: Clock, window_s: int, notices: Notices
    ) -> None:
        self._tally = tally
        self._spool = spool
        self._clock = clock
        self._windows = Windows(clock, window_s)
        self._notices = notices
        self._lock = threading.RLock()
        self._tick_lock = threading.RLock()
        self._open: Window | None = None
        self._closing: list[Window] = []
        self._given_back: deque[tuple[bytes, Block, int]] = deque()
        self._retired_bytes = 0
        self.closed = False

    def attach(self, session: StreamSession, n: int) -> None:
        """Count ``n`` bytes of ``session`` in a slot of the current window, and give it that."""
        with self._lock:
            if session.add_here(n):
                return
            # What it counted in a window that is over.
            session.detach()
            place = self._slot_or_refuse(session.descriptor, n, goes_on=session.total > 0)
            if place is None:
                session.count_late(n)
                return
            if self._open is not None:
                session.descriptor = self._open.shared(session.descriptor)
            session.attach(*place, n)

    def add(self, group: Group, n: int) -> None:
        """Count ``n`` bytes of a plain call."""
        descriptor = group.descriptor()
        with self._lock:
            place = self._slot_or_refuse(descriptor, n, goes_on=False)
            if place is not None:
                block, at = place
                block.page.words[at] += n
                self.give_back(descriptor, block, at)

    def give_back(self, descriptor: bytes, block: Block, at: int) -> None:
        """Take a slot that its session has let go; from any thread, without waiting."""
        self._given_back.append((descriptor, block, at))

    def end_window(self) -> None:
        """End the window if its time is over: one step, however many sessions count in it."""
        with self._lock:
            start_ns = self._windows.start_ns()
            if self._open is not None and (self.closed or self._open.start_ns != start_ns):
                self._end(self._open)
        while self._given_back:
            with self._lock:
                self._take_back(_TAKEN_BACK_AT_ONCE)

    def tick(self, *, cut_open: bool = False) -> None:
        """Make events of what was counted in windows that are over, and of open ones if asked.

        Raises:
            OSError: The disk refuses; what is not in events stays as it was and the next call
                tries again, until then windows do not end.
        """
        with self._tick_lock:
            try:
                self._make_events(cut_open=cut_open)
            except OSError:
                self._windows.are_wide = True
                raise
            self._windows.are_wide = False

    def on_the_way(self) -> bool:
        """Return whether bytes of streams that have ended may still arrive; asks once more."""
        return awaits(self._every_window())

    def close(self) -> None:
        """Make events of everything; what sessions add from now on is turned away and counted.

        Raises:
            OSError: The disk refuses; what is not in events stays in the pages, to be adopted.
        """
        with self._lock:
            self.closed = True
            self._spool.close_for_plain_calls()
        self.tick()
        for proof in [proof for window in self._closing for proof in window.proofs()]:
            proof.give_up()
        self.tick()

    def totals(self) -> tuple[int, int]:
        """Return the bytes counted in slots so far, and of these the bytes that are in no event."""
        counted, open_ = self._retired_bytes, 0
        for window in self._every_window():
            for block in window.blocks:
                in_block, spooled = block.sums()
                counted += in_block
                open_ += in_block - spooled
        return counted, open_

    def locked(self) -> threading.RLock:
        """Return the lock under which slots, events and totals agree."""
        return self._lock

    def forget(self) -> None:
        """Send every session back to zero, in a process that was forked."""
        for window in self._every_window():
            for block in window.blocks:
                block.forget()

    def _make_events(self, *, cut_open: bool) -> None:
        self.end_window()
        windows = self._every_window() if cut_open else [*self._closing]
        refresh(windows)
        trouble: OSError | None = None
        try:
            self._spool.write_backlog()
            for window in windows:
                self._spool_window(window)
        except OSError as error:
            # What was written before it goes on its way.
            trouble = error
        self._sync()
        self._retire()
        if trouble is not None:
            raise trouble

    def _every_window(self) -> list[Window]:
        # The open one first: who ends it puts it among the others before.
        opened = self._open
        closing = [*self._closing]
        return closing if opened is None or opened in closing else [*closing, opened]

    def _current(self) -> Window:
        """Return the window of now; the one before it is over, if it was open yet."""
        start_ns = self._windows.start_ns()
        window = self._open
        if window is None or window.start_ns != start_ns:
            self._end(window)
            window = self._open = Window(start_ns)
        return window

    def _slot_or_refuse(self, descriptor: bytes, n: int, *, goes_on: bool) -> Place | None:
        reason = "closed"
        if not self.closed:
            try:
                return self._slot(descriptor, goes_on=goes_on)
            except TallyFullError:
                reason = "no room for another group"
        self._spool.turn_away(n, reason)
        self._notices.tell("refused", f"{n} bytes were added and are not billed: {reason}")
        return None

    def _slot(self, descriptor: bytes, *, goes_on: bool) -> Place:
        window = self._current()
        self._take_back(_TAKEN_BACK_AT_ONCE)
        idle = window.idle.get(descriptor)
        if idle:
            return idle.pop()
        descriptor = window.shared(descriptor)
        group, layer = split_layer(descriptor)
        if len(window.groups) >= OPEN_GROUPS_MAX and group not in window.groups:
            window = self._close_early(window)
        timestamp_ns = window.start_ns if goes_on else self._clock.time_ns()
        last = window.blocks[-1] if window.blocks else None
        block = self._tally.open_slot(last, window.start_ns, timestamp_ns, descriptor)
        return window.enter(block, group, layer)

    def _take_back(self, at_once: int) -> None:
        for _ in range(min(len(self._given_back), at_once)):
            descriptor, block, at = self._given_back.popleft()
            if block.is_open and self._open is not None:
                self._open.idle.setdefault(descriptor, []).append((block, at))

    def _close_early(self, window: Window) -> Window:
        """End the window before its time and return another, when there are too many groups."""
        self._end(window)
        self._open = Window(window.start_ns)
        self._notices.tell(
            "groups",
            f"more than {OPEN_GROUPS_MAX} groups of customer and metadata are open: windows "
            "close early, so there are more events; is there a careless metadata key?",
        )
        return self._open

    def _end(self, window: Window | None) -> None:
        # In one of the two at every instant: a fork may come at any.
        if window is not None:
            window.close()
            self._closing.append(window)
        self._open = None

    def _spool_window(self, window: Window) -> None:
        with self._lock:
            waiting = window.waiting()
        made: list[Fresh] = []
        unsynced, left = 0, SLOTS_READ_AT_ONCE
        for group in waiting:
            fresh = window.fresh(group)
            while not fresh.is_whole:
                if not left:
                    left = _take_turns(SLOTS_READ_AT_ONCE)
                with self._lock:
                    left -= fresh.read(left)
            made.append(fresh)
            if len(made) == EVENTS_MADE_AT_ONCE or not left:
                unsynced += self._write(window, made)
                made, left = [], _take_turns(SLOTS_READ_AT_ONCE)
            if unsynced >= EVENTS_UNSYNCED_MAX:
                self._sync()
                unsynced = 0
        self._write(window, made)

    def _write(self, window: Window, made: list[Fresh]) -> int:
        events = [draft for fresh in made for draft in fresh.drafts()]
        with self._lock:
            if events:
                self._spool.append_all(events)
            for fresh in made:
                window.settle(fresh)
        return len(events)

    def _sync(self) -> None:
        until = self._spool.sync()
        for window in self._every_window():
            for block in window.blocks:
                block.advance()
        self._spool.release(until)

    def _retire(self) -> None:
        """Give up the blocks of windows that are over when every byte is in a synced event."""
        for window in [*self._closing]:
            if window.groups:
                continue
            for block in [block for block in window.blocks if block.is_done()]:
                with self._lock:
                    self._retired_bytes += block.sums()[0]
                    self._tally.retire(block)
                    window.remove(block)
            if not window.blocks:
                self._closing.remove(window)


def _take_turns(slots: int) -> int:
    """Let other threads run, and return how many slots may be read before the next time."""
    time.sleep(_TURN_S)
    return slots
