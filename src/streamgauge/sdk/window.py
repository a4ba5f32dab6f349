"""A window of time with the slots that count it, grouped by what shares an event."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Final

from streamgauge.core.limits import DESCRIPTOR_OWN_BYTES_MAX
from streamgauge.sdk.block import Block, Proof
from streamgauge.sdk.groups import decode_group
from streamgauge.sdk.records import Draft, Stretch, drafts

_IDLE_DROPPED_AT_ONCE: Final = 8

Place = tuple[Block, int]
"""A slot: its block, and its place there."""


class Fresh:
    """What a group has in no event, read slot by slot.

    Args:
        group: Its descriptor.
        slots: Its slots.

    Attributes:
        stretches: What was found.
        blocks: The block of each stretch.
        held: Slots of which not all bytes may be in events.
        is_whole: Whether every slot was read.
    """

    __slots__ = ("_slots", "blocks", "group", "held", "is_whole", "stretches")

    def __init__(self, group: bytes, slots: Iterator[Place]) -> None:
        self.group = group
        self.stretches: list[Stretch] = []
        self.blocks: list[Block] = []
        self.held: list[Place] = []
        self.is_whole = False
        self._slots = slots

    def read(self, slots_max: int) -> int:
        """Read so many slots more, or as many as there are, and return how many.

        No session may take up one of them meanwhile.
        """
        read = 0
        for block, at in itertools.islice(self._slots, slots_max):
            read += 1
            if block.sure and at in block.sure:
                self.held.append((block, at))
            stretch = block.unspooled(at)
            if stretch is not None:
                self.stretches.append(stretch)
                self.blocks.append(block)
        self.is_whole = read < slots_max
        return read

    def drafts(self) -> list[Draft]:
        """Return an event of what was found; several if it is too much, none if it is nothing."""
        if not self.stretches:
            return []
        return list(drafts(decode_group(self.group), self.stretches))


class Window:
    """The slots of one window.

    The slots of a group are a chain: ``groups`` has the newest, its page the one before.

    Args:
        start_ns: When it begins.

    Attributes:
        blocks: The slots, by page.
        groups: The newest slot of each group, by descriptor; once the window is over only of those
            that are not wholly in events. A slot's number is its block's and its place there.
        idle: Slots that nobody adds to, by the descriptor with which they were opened.
    """

    __slots__ = ("_held", "_shared", "blocks", "groups", "idle", "is_open", "start_ns")

    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self.is_open = True
        self.blocks: list[Block] = []
        self.groups: dict[bytes, int] = {}
        self.idle: dict[bytes, list[Place]] = {}
        self._shared: dict[bytes, bytes] = {}
        # Of groups in a window that is over: the slots of which not all bytes may be in events.
        self._held: dict[bytes, list[Place]] = {}

    def shared(self, descriptor: bytes) -> bytes:
        """Return the one copy of a large descriptor; a small one as it is."""
        if len(descriptor) <= DESCRIPTOR_OWN_BYTES_MAX:
            return descriptor
        return self._shared.setdefault(descriptor, descriptor)

    def enter(self, block: Block, group: bytes, layer: str) -> Place:
        """Take in the slot that was put last into the page of ``block``."""
        at = block.take(self.groups.get(group, 0))
        if not self.blocks or self.blocks[-1] is not block:
            self.blocks.append(block)
        if layer:
            block.layers[at] = layer
        self.groups[group] = len(self.blocks) << 32 | at
        return block, at

    def waiting(self) -> list[bytes]:
        """Return the groups that may have bytes in no event."""
        return [*self.groups, *self._held]

    def fresh(self, group: bytes) -> Fresh:
        """Return what of a group is in no event, as far as nothing is read yet."""
        return Fresh(group, self._slots(group))

    def settle(self, fresh: Fresh) -> None:
        """Note that what was read of a group is in events."""
        for block, stretch in zip(fresh.blocks, fresh.stretches, strict=True):
            block.mark_spooled(stretch.source)
        if self.is_open:
            return
        for _ in range(min(len(self.idle), _IDLE_DROPPED_AT_ONCE)):
            self.idle.popitem()
        self.groups.pop(fresh.group, None)
        self._held.pop(fresh.group, None)
        if held := [(block, at) for block, at in fresh.held if block.is_pending(at)]:
            self._held[fresh.group] = held

    def remove(self, block: Block) -> None:
        """Let go of a block all of whose bytes are in events."""
        self.blocks.remove(block)
        for group, places in [*self._held.items()]:
            # What was held when it was last read may have been taken back since.
            self._held[group] = [place for place in places if place[0] is not block]
            if not self._held[group]:
                del self._held[group]

    def proofs(self) -> Iterator[Proof]:
        """Yield who knows more of bytes that are held back."""
        for block in self.blocks:
            # A copy: a session that nobody has any more leaves at any instant.
            for holder in block.holders.copy().values():
                session = holder()
                if session is not None and session.evidence is not None:
                    yield session.evidence

    def close(self) -> None:
        """Make every session that counts here go on in another window."""
        self.is_open = False
        self._shared.clear()
        for block in self.blocks:
            block.close()

    def _slots(self, group: bytes) -> Iterator[Place]:
        if group in self._held:
            yield from self._held[group]
            return
        number = self.groups[group]
        while number:
            block, at = self.blocks[(number >> 32) - 1], number & 0xFFFFFFFF
            yield block, at
            number = block.following(at)


def refresh(windows: Iterable[Window]) -> None:
    """Ask who knows more of bytes that are held back, each once; no lock is held meanwhile."""
    for proof in _proofs(windows):
        proof.refresh()


def awaits(windows: Iterable[Window]) -> bool:
    """Return whether bytes of streams that have ended are on their way; asks of these alone."""
    awaited = [proof for proof in _proofs(windows) if proof.awaited]
    for proof in awaited:
        proof.refresh()
    return any(proof.awaited for proof in awaited)


def _proofs(windows: Iterable[Window]) -> list[Proof]:
    return [*{id(proof): proof for window in windows for proof in window.proofs()}.values()]
