"""The parts of one process's ingestion, put together; every step can be taken by hand."""

from __future__ import annotations

import errno
from collections.abc import Callable

import msgspec

from streamgauge.core.clock import NS_PER_S
from streamgauge.core.limits import SPOOL_BYTES_MAX, SPOOL_MEMORY_BYTES_MAX
from streamgauge.sdk.coalescer import Coalescer
from streamgauge.sdk.dispatch import Dispatch
from streamgauge.sdk.ground import Ground
from streamgauge.sdk.identity import Destination
from streamgauge.sdk.notices import Notices
from streamgauge.sdk.options import Options
from streamgauge.sdk.records import Draft
from streamgauge.sdk.spooldir import create_spool, discard_spool
from streamgauge.sdk.stats import Durability, Stats
from streamgauge.sdk.tally import Tally
from streamgauge.sinks.base import Sink


class Engine:
    """Tally, spool and delivery of one process.

    Args:
        options: The caller's choices.
        sink: Takes the events.
        ground: Directory, clock and entropy.
        notices: Told of every trouble.

    Raises:
        OSError: No spool can be made.
    """

    def __init__(self, options: Options, sink: Sink, ground: Ground, notices: Notices) -> None:
        clock = ground.clock
        self._ground = ground
        self._options = options
        self._notices = notices
        destination = Destination(address=sink.destination, mode=options.environment)
        on_disk = ground.durability is Durability.DISK
        self.spool = create_spool(
            ground.root,
            destination,
            clock=clock,
            entropy=ground.entropy,
            bytes_max=SPOOL_BYTES_MAX if on_disk else SPOOL_MEMORY_BYTES_MAX,
        )
        self.tally = Tally(
            self.spool.directory,
            entropy=ground.entropy,
            page_bytes=ground.page_bytes,
            on_trouble=lambda message: notices.tell("spool", message),
        )
        self.spool.before_trim = self.tally.sync
        self.coalescer = Coalescer(
            self.tally, self.spool, clock=clock, window_s=options.window_s, notices=notices
        )
        self.dispatch = Dispatch(
            sink,
            ground.root,
            self.spool,
            destination,
            clock=clock,
            notices=notices,
            batch_events_max=options.batch_events_max,
        )
        self._cut_at_ns = clock.monotonic_ns()

    def tick(self, *, cut_open: bool = False) -> bool:
        """Make and sync events of what is due; return whether the disk took everything.

        Args:
            cut_open: Make events of windows that are not over, too.
        """
        interval_s = self._options.flush_interval_s
        now_ns = self._ground.clock.monotonic_ns()
        if interval_s is not None and now_ns - self._cut_at_ns >= interval_s * NS_PER_S:
            cut_open = True
        made = self._tried(lambda: self.coalescer.tick(cut_open=cut_open))
        synced = self._tried(self.tally.sweep)
        if cut_open and made:
            self._cut_at_ns = now_ns
        return made and synced

    def accept(self, draft: Draft, *, mergeable: bool = False) -> None:
        """Take the event of a plain call.

        Args:
            draft: The event.
            mergeable: Whether its bytes may be counted in the tally while the spool takes no event.
        """
        try:
            trouble = self.spool.accept(draft, in_memory=not mergeable)
        except OSError as error:
            self.coalescer.add(draft.group, draft.quantity or 0)
            trouble = f"the spool takes no event, its bytes are in the tally: {error}"
        if trouble is not None:
            self._notices.tell("spool", f"an event was not spooled: {trouble}")

    def record(self, draft: Draft) -> None:
        """Take an event that its caller can give again.

        Raises:
            OSError: It was not taken, nor counted as turned away.
        """
        with self.spool.changed:
            if self.spool.closed:
                raise OSError(errno.ESHUTDOWN, "the ingestion is closed")
            self.spool.append_all([draft])
            self.spool.ledger.plain_bytes += draft.quantity or 0

    def sync(self) -> None:
        """Put on disk what was recorded.

        Raises:
            OSError: The disk refuses, or the spool is in memory and the sink has not settled it.
        """
        if self._ground.durability is Durability.MEMORY and not self.spool.idle:
            raise OSError(errno.ENODEV, "the spool is in memory only")
        self.spool.sync()

    def adopt(self) -> None:
        """Take the role of the deliverer if it is free, and look for what others have."""
        self.dispatch.look()

    def deliver(self) -> float | None:
        """Settle a batch, or learn what was settled; return the seconds to wait, None: idle."""
        return self.dispatch.deliver()

    def stop_counting(self) -> None:
        """Make events of everything; what is added from now on is turned away and counted."""
        self._tried(self.coalescer.close)
        self._tried(lambda: self.tally.sweep(closing=True))

    def close(self) -> None:
        """Give up the spool, and remove it if it is empty; call ``stop_counting`` before."""
        self.dispatch.close()
        self._tried(self.spool.trim)
        lost = self.spool.unwritten_bytes
        if self._ground.durability is Durability.MEMORY and not self.spool.idle:
            lost = self.spool.ledger.pending_bytes
        if lost is not None:
            self._notices.tell("lost", f"{lost} bytes were in memory only and end with the process")
        if not self._tried(lambda: discard_spool(self._ground.root, self.spool)):
            self.spool.close()
        self.dispatch.resign()

    def abandon(self) -> None:
        """Let go of what belongs to the parent, in a process that was forked."""
        self.dispatch.abandon()
        self.coalescer.forget()
        self.spool.abandon()

    def settled(self) -> bool:
        """Return whether every byte is acknowledged or refused."""
        with self.coalescer.locked(), self.spool.changed:
            _, open_bytes = self.coalescer.totals()
            return self.spool.idle and not open_bytes

    def stats(self) -> Stats:
        """Return where every byte stands."""
        spool = self.spool
        with self.coalescer.locked(), spool.changed:
            in_slots, open_bytes = self.coalescer.totals()
            ledger = msgspec.structs.replace(spool.ledger)
            oldest_ns = spool.oldest_ns
        on_disk = self._ground.durability is Durability.DISK and self.tally.on_disk
        on_disk = on_disk and spool.unwritten_bytes is None
        age_ns = None if oldest_ns is None else self._ground.clock.time_ns() - oldest_ns
        return Stats(
            counted_bytes=in_slots + ledger.plain_bytes,
            open_bytes=open_bytes,
            spooled_bytes=ledger.pending_bytes,
            acknowledged_bytes=ledger.acknowledged_bytes,
            refused_bytes=ledger.refused_bytes,
            spooled_events=ledger.pending_events,
            acknowledged_events=ledger.acknowledged_events,
            refused_events=ledger.refused_events,
            restamped_bytes=ledger.restamped_bytes,
            crossed_bytes=ledger.crossed_bytes,
            turned_away=ledger.turned_away,
            held_bytes=ledger.held_bytes,
            adopted=self.dispatch.adopter.adopted(),
            left_alone=self.dispatch.adopter.left_alone,
            delivers=self.dispatch.election.is_ours,
            oldest_pending_age_s=None if age_ns is None else max(age_ns, 0) / NS_PER_S,
            last_error=self._notices.last_error,
            durability=Durability.DISK if on_disk else Durability.MEMORY,
        )

    def _tried(self, step: Callable[[], object]) -> bool:
        """Take a step that needs the disk; return whether the disk let it."""
        try:
            step()
        except OSError as error:
            self._notices.tell("spool", f"the disk refuses the spool, counts wait: {error}")
            return False
        return True
