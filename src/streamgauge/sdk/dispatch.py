"""Who delivers what: the holder of the role, for every spool of its destination; others follow."""

from __future__ import annotations

import os

from streamgauge.core.clock import NS_PER_S, Clock
from streamgauge.core.errors import StreamgaugeError
from streamgauge.core.files import Directory
from streamgauge.core.limits import ADOPTION_INTERVAL_S
from streamgauge.sdk.adoption import Adopter
from streamgauge.sdk.attempts import Attempts
from streamgauge.sdk.delivery import Deliverer
from streamgauge.sdk.election import Election, Term
from streamgauge.sdk.identity import Destination
from streamgauge.sdk.notices import Notices
from streamgauge.sdk.queues import Queue
from streamgauge.sdk.spool import Spool
from streamgauge.sinks.base import Sink


class Dispatch:
    """Election, adoption and delivery of one process; used by one thread at a time.

    Args:
        sink: Takes the events.
        root: Where spools are.
        spool: Our own; None: we have none, and deliver only what others left.
        destination: Where events go.
        clock: Says what time it is.
        notices: Told of every trouble.
        batch_events_max: Events in one request.
    """

    def __init__(
        self,
        sink: Sink,
        root: Directory,
        spool: Spool | None,
        destination: Destination,
        *,
        clock: Clock,
        notices: Notices,
        batch_events_max: int,
    ) -> None:
        own = spool.name if spool is not None else ""
        is_private = bool(getattr(sink, "is_private", False))
        self._root = root
        self._spool = spool
        self._clock = clock
        self._notices = notices
        self._looked_at_ns: int | None = None
        term = Term(writer_id=own, pid=os.getpid())
        self.election = Election(root, destination, term, clock=clock, is_private=is_private)
        self._attempts: Attempts | None = None
        if getattr(sink, "asks_first", False):
            self._attempts = Attempts(root, self.election.attempts_name, clock=clock)
        self.adopter = Adopter(
            root, own, destination, clock=clock, notices=notices, with_siblings=not is_private
        )
        self.deliverer = Deliverer(
            sink,
            clock=clock,
            notices=notices,
            batch_events_max=batch_events_max,
            attempts=self._attempts,
        )

    def look(self) -> None:
        """Take the role if it is free, and then look for what others have."""
        if not self._is_elected():
            return
        now_ns = self._clock.monotonic_ns()
        looked_at_ns = self._looked_at_ns
        due = looked_at_ns is None or now_ns - looked_at_ns >= ADOPTION_INTERVAL_S * NS_PER_S
        if due:
            self._looked_at_ns = now_ns
            self._forget_attempts()
        self.adopter.look(only_new=not due)

    def deliver(self) -> float | None:
        """Settle a batch, or learn what the deliverer has settled of ours.

        Returns:
            Seconds to wait before the next step; None: nothing is ready.
        """
        if not self._is_elected():
            self._follow()
            return None
        wait_s = self.deliverer.step(self._queues())
        self.adopter.dismiss_idle()
        self.adopter.dismiss_gone()
        # Alone we keep the role: nobody else could try another key.
        if self.deliverer.key_refused and self.adopter.siblings and self._trimmed():
            self.adopter.give_up()
            self.election.pass_on()
            return None
        return wait_s

    def close(self) -> None:
        """Give up what is not delivered yet; the role stays until ``resign``."""
        if not self.election.is_ours:
            self._follow()
        self.adopter.close()

    def resign(self) -> None:
        """Give up the role: the last step."""
        if self.election.is_ours:
            self._forget_attempts()
        self.election.resign()

    def abandon(self) -> None:
        """Let go of what belongs to the parent, in a process that was forked."""
        self.deliverer.stopped = True
        self.election.abandon()
        for spool in self.adopter.spools:
            spool.abandon()

    def _is_elected(self) -> bool:
        if self.election.is_lost:
            self._notices.tell("election", "the file of the deliverer was removed from outside")
            self.adopter.give_up()
            self.election.abandon()
        if self.election.is_ours:
            return True
        try:
            if not self.election.stand():
                return False
        except OSError as error:
            self._notices.tell("election", f"nobody can be chosen to deliver: {error}")
            return False
        wait_s = self.election.begin()
        self.deliverer.wait_until(self._clock.monotonic_ns() + int(wait_s * NS_PER_S))
        self._looked_at_ns = None
        # The last word of whoever delivered before.
        self._follow()
        if self._attempts is not None:
            try:
                self._attempts.load()
            except OSError as error:
                self._notices.tell("attempts", f"earlier attempts cannot be read: {error}")
        return True

    def _queues(self) -> list[Queue]:
        own: list[Queue] = [] if self._spool is None else [self._spool]
        return [*own, *self.adopter.spools, *self.adopter.siblings]

    def _follow(self) -> None:
        if self._spool is None:
            return
        try:
            self._spool.follow()
            self._spool.trim()
        except (OSError, StreamgaugeError) as error:
            self._notices.tell("spool", f"what was delivered cannot be read: {error}")

    def _trimmed(self) -> bool:
        try:
            for queue in self._queues():
                queue.trim()
        except OSError:
            return False
        return True

    def _forget_attempts(self) -> None:
        if self._attempts is not None:
            try:
                self._attempts.retain(self._root.names())
            except OSError as error:
                self._notices.tell("attempts", f"earlier attempts cannot be removed: {error}")
