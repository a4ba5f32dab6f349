"""One stream being counted, chunk by chunk."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, Self

from streamgauge.core.errors import InvalidInputError
from streamgauge.sdk.block import Block
from streamgauge.sdk.groups import Group, decode_group
from streamgauge.sdk.plain import shown_integer

_COUNT_END: Final = 2**64


class Home(Protocol):
    """Where a session gets its slots and leaves them."""

    def attach(self, session: StreamSession, n: int) -> None:
        """Count ``n`` bytes of ``session`` in a slot of the current window, and give it that."""
        ...

    def give_back(self, descriptor: bytes, block: Block, at: int) -> None:
        """Take a slot that its session has let go; from any thread, without waiting."""
        ...

    def new_session_id(self) -> str:
        """Return a name that no other session has."""
        ...

    def locked(self) -> AbstractContextManager[object]:
        """Return the lock under which slots, events and totals agree."""
        ...


class StreamSession:
    """One stream being counted; made by ``Ingestion.session``.

    ``add`` is a store into mapped memory: what it counted survives the process at once. Threads may
    share a session.

    Attributes:
        descriptor: What its events share, as bytes (see ``Group``).
        words: The page of the current slot, for hot paths that do what ``add`` does, with a size
            that is an int of at least 0: ``words[at] += size``. None, and words that were released,
            send them to ``add``.
        at: The place of the slot's count in ``words``.
    """

    # One object, and what it refers to is shared: a process may have a hundred thousand.
    __slots__ = ("__weakref__", "_block", "_closed_total", "_home", "_id", "_start", "at",
                 "descriptor", "words")  # fmt: skip

    def __init__(self, home: Home, descriptor: bytes) -> None:
        self.descriptor = descriptor
        self.words: memoryview[int] | None = None
        self.at = 0
        self._home = home
        self._id: str | None = None
        # Whoever takes the block out of it owns the farewell, so that two closes never both do.
        self._block: Block | None = None
        self._start = 0
        self._closed_total = 0

    @property
    def id(self) -> str:
        """Return its name in logs; it is in no event."""
        self._id = self._id or self._home.new_session_id()
        return self._id

    @property
    def group(self) -> Group:
        """Return what its events share."""
        return decode_group(self.descriptor)

    @property
    def customer_id(self) -> str:
        """Return who pays."""
        return self.group.customer_id

    @property
    def is_counting(self) -> bool:
        """Return whether it has a slot: not before the first chunk, nor between windows."""
        return self._block is not None and self._block.is_open

    @property
    def total(self) -> int:
        """Return the bytes added so far."""
        block, at, start = self._block, self.at, self._start
        if block is None:
            return self._closed_total
        return 0 if block.is_forgotten else self._closed_total + block.count(at) - start

    def add(self, n: int) -> None:
        """Count ``n`` more bytes.

        Raises:
            InvalidInputError: ``n`` is not a whole number of at least 0; nothing was counted.
        """
        if n.__class__ is int and n >= 0:
            try:
                # Threads take turns at calls and backward jumps only, so none comes between the
                # load and the store of this statement.
                self.words[self.at] += n  # type: ignore[index]  # None is the way to the slow path.
            except (TypeError, ValueError):
                self._add_slowly(n)
        else:
            self._add_slowly(n)

    def close(self) -> None:
        """End the session; twice is once, and bytes added later still count."""
        place = self.detach()
        if place is not None:
            self._home.give_back(self.descriptor, *place)

    def attach(self, block: Block, at: int, n: int) -> None:
        """Go on in a slot, beginning with ``n`` bytes; called by its home, one at a time."""
        words = block.page.words
        start = words[at]
        words[at] = start + n
        self.at = at
        self._start = start
        self._block = block
        self.words = block.words

    def add_here(self, n: int) -> bool:
        """Count ``n`` bytes in its slot, if it has one; its home closes no window meanwhile."""
        block, at = self._block, self.at
        if block is None or not block.is_open:
            return False
        block.page.words[at] += n
        return True

    def detach(self) -> tuple[Block, int] | None:
        """Let go of the slot, if there is one; the next add asks for another.

        Returns:
            The slot, if its window is not over.
        """
        self.words = None
        # One statement without a call: no thread comes in between.
        block, at, start, self._block = self._block, self.at, self._start, None
        if block is None:
            return None
        if block.is_forgotten:
            self.forget()
            return None
        counted = block.count(at) - start
        self._closed_total += counted
        return (block, at) if block.is_open else None

    def count_late(self, n: int) -> None:
        """Count ``n`` bytes that no slot takes any more; called by its home."""
        self._closed_total += n

    def forget(self) -> None:
        """Start from zero, in a process that was forked: the parent bills what was counted."""
        self.words = self._block = None
        self._closed_total = 0

    def _add_slowly(self, n: object) -> None:
        if not isinstance(n, int) or isinstance(n, bool):
            raise InvalidInputError("bytes", n, "be a whole number, of type int")
        if n < 0:
            raise InvalidInputError("bytes", shown_integer(n), "not be negative")
        try:
            self._home.attach(self, int(n))
        except ValueError:
            rule = "keep the count of a window within 64 bits"
            raise InvalidInputError("bytes", shown_integer(n), rule) from None

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class LockedStreamSession(StreamSession):
    """A session for interpreters without a global lock: its block's makes ``add`` whole."""

    __slots__ = ()

    def add(self, n: int) -> None:
        """Count ``n`` more bytes.

        Raises:
            InvalidInputError: ``n`` is not a whole number of at least 0; nothing was counted.
        """
        block = self._block
        if n.__class__ is int and n >= 0 and block is not None:
            with block.lock:
                if block.is_open and self._block is block:
                    words, at = block.page.words, self.at
                    if words[at] + n < _COUNT_END:
                        words[at] += n
                        return
        # Outside of the lock: the home takes its own lock first, and then this one.
        self._add_slowly(n)

    def attach(self, block: Block, at: int, n: int) -> None:
        """Go on in a slot, beginning with ``n`` bytes; called by its home, one at a time."""
        with block.lock:
            super().attach(block, at, n)

    def add_here(self, n: int) -> bool:
        """Count ``n`` bytes in its slot, if it has one; its home closes no window meanwhile."""
        while (block := self._block) is not None:
            with block.lock:
                if self._block is block:
                    return super().add_here(n)
        return super().add_here(n)

    def detach(self) -> tuple[Block, int] | None:
        """Let go of the slot, if there is one; the next add asks for another."""
        while (block := self._block) is not None:
            with block.lock:
                if self._block is block:
                    return super().detach()
        return super().detach()


def session_type() -> type[StreamSession]:
    """Return the kind of session that counts exactly on this interpreter."""
    return StreamSession if has_global_lock() else LockedStreamSession


def has_global_lock() -> bool:
    """Return whether this interpreter runs one thread at a time."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())
