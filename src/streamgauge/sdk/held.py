"""Streams of which not every byte that was handed over arrives: bill what is proved.

A server takes chunks faster than a client does. When the client hangs up, what was counted is more
than what arrived. So bytes are counted at once, as always, but stay out of events until a proof
says that they arrived, and those that never did are taken back. A process that is killed in between
bills what was counted.
"""

from __future__ import annotations

import weakref

from streamgauge.sdk.block import Block, Proof
from streamgauge.sdk.session import Home, LockedStreamSession, StreamSession, has_global_lock


class _Part:
    """A stretch of a session: in a slot from ``start``, ``first`` bytes after its beginning."""

    __slots__ = ("at", "block", "first", "size", "start")

    def __init__(self, block: Block, at: int, start: int, first: int) -> None:
        self.block = block
        self.at = at
        self.start = start
        self.first = first
        # Known when the session has let the slot go.
        self.size: int | None = None


class HeldSession(StreamSession):
    """A session whose bytes are in no event until they are settled.

    Attributes:
        evidence: Asked before events are made.
        finished: Whether it has ended.
        sides: Sessions of the other layers that are told beside the bytes, by layer.
    """

    __slots__ = ("_parts", "_settled", "evidence", "finished", "sides")

    def __init__(self, home: Home, descriptor: bytes) -> None:
        super().__init__(home, descriptor)
        self.evidence: Proof | None = None
        self.sides: dict[str, StreamSession] = {}
        self.finished = False
        self._settled = 0
        self._parts: list[_Part] = []

    @property
    def unsettled(self) -> int:
        """Return the bytes that were added and are not settled."""
        return self.total - self._settled

    def settle(self, through: int) -> None:
        """Let the first ``through`` bytes of the session into events; it never goes back."""
        with self._home.locked():
            self._settled = max(self._settled, min(through, self.total))
            if not self.is_counting:
                self.detach()
            waiting = []
            for part in self._parts:
                size = part.size
                if size is None:
                    size = part.block.count(part.at) - part.start
                sure = min(max(self._settled - part.first, 0), size)
                part.block.sure[part.at] = part.start + sure
                if part.size is not None and sure == size:
                    self._release(part)
                else:
                    waiting.append(part)
            self._parts = waiting

    def finish(self, total: int) -> None:
        """End the session with ``total`` bytes: add what is missing, take back what is too much.

        What is settled stays. Twice is once, and bytes added later count nothing.
        """
        with self._home.locked():
            if self.finished:
                return
            missing = total - self.total
            if missing > 0:
                self.add(missing)
            self.finished = True
            self.detach()
            for part in reversed(self._parts):
                excess = min(self.total - max(total, self._settled), part.size or 0)
                if excess > 0:
                    part.block.page.words[part.at] -= excess
                    self._closed_total -= excess
                self._release(part)
            self._parts.clear()
        for side in self.sides.values():
            side.close()

    def close(self) -> None:
        """End the session; everything that was added is billed."""
        self.finish(self.total)

    def attach(self, block: Block, at: int, n: int) -> None:
        """Go on in a slot, beginning with ``n`` bytes, none of them settled."""
        start = block.count(at)
        block.sure[at] = start
        block.holders[at] = weakref.ref(self)
        self._parts.append(_Part(block, at, start, self.total))
        super().attach(block, at, n)

    def add_here(self, n: int) -> bool:
        """Count ``n`` bytes in its slot, if it has one; none after the end."""
        return self.finished or super().add_here(n)

    def detach(self) -> tuple[Block, int] | None:
        """Let go of the slot, which stays ours until its bytes are settled."""
        before, parts = self._closed_total, len(self._parts)
        super().detach()
        if parts and self._parts and self._parts[-1].size is None:
            self._parts[-1].size = self._closed_total - before
        return None

    def forget(self) -> None:
        """Start from zero, in a process that was forked: the parent bills what was counted."""
        super().forget()
        self._parts.clear()
        self._settled = 0
        for side in self.sides.values():
            side.forget()

    def _release(self, part: _Part) -> None:
        part.block.holders.pop(part.at, None)
        part.block.sure.pop(part.at, None)
        if part.block.is_open:
            self._home.give_back(self.descriptor, part.block, part.at)

    def __del__(self) -> None:
        # From any thread, under any lock: what nobody ended is billed as it was counted.
        for part in self._parts:
            self._release(part)


class LockedHeldSession(LockedStreamSession, HeldSession):
    """The same for interpreters without a global lock."""

    __slots__ = ()


def held_session_type() -> type[HeldSession]:
    """Return the kind of held session that counts exactly on this interpreter."""
    return HeldSession if has_global_lock() else LockedHeldSession
