"""One stream being counted, chunk by chunk."""

from __future__ import annotations

import sys
import threading
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, Self

from streamgauge.core.errors import InvalidInputError
from streamgauge.sdk.groups import Group
from streamgauge.sdk.plain import shown_integer
from streamgauge.sdk.tally import Proof, Slot

_COUNT_END: Final = 2**64


class Home(Protocol):
    """Where a session gets its slots and leaves them."""

    def attach(self, session: StreamSession, n: int) -> None:
        """Count ``n`` bytes of ``session`` in a slot of the current window, and give it that."""
        ...

    def give_back(self, slot: Slot) -> None:
        """Take a slot that its session has let go; from any thread, without waiting."""
        ...

    def locked(self) -> AbstractContextManager[object]:
        """Return the lock under which slots, events and totals agree."""
        ...


class StreamSession:
    """One stream being counted; made by ``Ingestion.session``.

    ``add`` is a store into mapped memory: what it counted survives the process at once. Threads may
    share a session.

    Attributes:
        id: Names this session in logs; it is in no event.
        group: What its events share.
        descriptor: The group as bytes.
        cell: The count of the current slot, for hot paths that do what ``add`` does, with a size
            that is an int of at least 0: ``cell[0] += size``. None sends them to ``add``.
    """

    __slots__ = ("__weakref__", "_closed_total", "_home", "_lock", "_slots", "cell", "descriptor",
                 "group", "id")  # fmt: skip

    def __init__(self, home: Home, group: Group, id: str) -> None:
        self.id = id
        self.group = group
        self.descriptor = group.descriptor()
        self._home = home
        # Whoever pops the slot from the list owns the farewell, so a close and a window's end never
        # both do.
        self.cell: memoryview[int] | None = None
        self._slots: list[tuple[Slot, int]] = []
        self._closed_total = 0

    @property
    def customer_id(self) -> str:
        """Return who pays."""
        return self.group.customer_id

    @property
    def proof(self) -> Proof | None:
        """Return None: every byte that is added is billed."""
        return None

    @property
    def total(self) -> int:
        """Return the bytes added so far."""
        return self._closed_total + sum(slot.cell[0] - start for slot, start in self._slots)

    def add(self, n: int) -> None:
        """Count ``n`` more bytes.

        Raises:
            InvalidInputError: ``n`` is not a whole number of at least 0; nothing was counted.
        """
        if n.__class__ is int and n >= 0:
            try:
                # Threads take turns at calls and backward jumps only, so none comes between the
                # load and the store of this statement.
                self.cell[0] += n  # type: ignore[index]  # None is the way to the slow path.
            except (TypeError, ValueError):
                self._add_slowly(n)
        else:
            self._add_slowly(n)

    def close(self) -> None:
        """End the session; twice is once, and bytes added later still count."""
        slot = self.detach()
        if slot is not None:
            self._home.give_back(slot)

    def attach(self, slot: Slot, n: int) -> None:
        """Go on in ``slot``, beginning with ``n`` bytes; called by its home, one at a time."""
        start = slot.cell[0]
        slot.cell[0] = start + n
        self._slots.append((slot, start))
        self.cell = slot.cell

    def add_here(self, n: int) -> bool:
        """Count ``n`` bytes in its slot, if it has one; its home closes no window meanwhile."""
        slot = self.current_slot()
        if slot is None:
            return False
        slot.cell[0] += n
        return True

    def current_slot(self) -> Slot | None:
        """Return the slot it counts in; None before the first chunk, and between windows."""
        for slot, _ in self._slots:
            return slot
        return None

    def detach(self) -> Slot | None:
        """Let go of the slot, if there is one; the next add asks for another."""
        self.cell = None
        try:
            slot, start = self._slots.pop()
        except IndexError:
            return None
        self._closed_total += slot.cell[0] - start
        return slot

    def count_late(self, n: int) -> None:
        """Count ``n`` bytes that no slot takes any more; called by its home."""
        self._closed_total += n

    def forget(self) -> None:
        """Start from zero, in a process that was forked: the parent bills what was counted."""
        self.cell = None
        self._slots.clear()
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
    """A session for interpreters without a global lock: its own makes ``add`` whole."""

    __slots__ = ()

    _lock: threading.RLock

    def __init__(self, home: Home, group: Group, id: str) -> None:
        super().__init__(home, group, id)
        self._lock = threading.RLock()

    def add(self, n: int) -> None:
        """Count ``n`` more bytes.

        Raises:
            InvalidInputError: ``n`` is not a whole number of at least 0; nothing was counted.
        """
        if n.__class__ is int and n >= 0:
            with self._lock:
                cell = self.cell
                if cell is not None and cell[0] + n < _COUNT_END:
                    cell[0] += n
                    return
        # Outside of the lock: the home takes its own lock first, and then this one.
        self._add_slowly(n)

    def attach(self, slot: Slot, n: int) -> None:
        """Go on in ``slot``, beginning with ``n`` bytes; called by its home, one at a time."""
        with self._lock:
            super().attach(slot, n)

    def add_here(self, n: int) -> bool:
        """Count ``n`` bytes in its slot, if it has one; its home closes no window meanwhile."""
        with self._lock:
            return super().add_here(n)

    def detach(self) -> Slot | None:
        """Let go of the slot, if there is one; the next add asks for another."""
        with self._lock:
            return super().detach()

    def forget(self) -> None:
        """Start from zero, in a process that was forked; who held the lock may not exist here."""
        self._lock = threading.RLock()
        super().forget()


def session_type() -> type[StreamSession]:
    """Return the kind of session that counts exactly on this interpreter."""
    return StreamSession if has_global_lock() else LockedStreamSession


def has_global_lock() -> bool:
    """Return whether this interpreter runs one thread at a time."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())
