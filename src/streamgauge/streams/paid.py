"""Who pays for a stream, byte by byte: sessions in the order of its bytes.

Most streams have one payer. ``bill_to`` may name another in the middle, and what is billed may be a
lower layer, whose bytes beyond the payload belong to who pays at that time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final, NamedTuple

from streamgauge.core.payers import Payer
from streamgauge.sdk.held import HeldSession
from streamgauge.sdk.session import has_global_lock
from streamgauge.streams.metering import Metering
from streamgauge.streams.readings import Readings
from streamgauge.streams.view import RequestView


class Uncounted:
    """Stands for a session of which ``add`` must be called, not its words used."""

    __slots__ = ()
    words: memoryview[int] | None = None
    at = 0


_UNCOUNTED: Final = Uncounted()
_STORES_ARE_WHOLE: Final = has_global_lock()


class Span(NamedTuple):
    """A stretch of a stream with one payer.

    Attributes:
        session: Its bytes.
        before: Payload that was handed over before it.
        topped_up: What sessions before it were given beyond the payload.
    """

    session: HeldSession
    before: int
    topped_up: int


class PaidStream:
    """The sessions of one stream.

    Attributes:
        add: Counts a chunk; None: who pays must be found out first.
        counter: Has the ``words`` that ``add`` adds to, for hot paths (see ``StreamSession``).
        concluded: The last word on it.
    """

    __slots__ = (
        "_held_bytes",
        "_metering",
        "_payer",
        "_promised_bytes",
        "_spans",
        "_told",
        "_topped_up",
        "add",
        "concluded",
        "counter",
    )

    def __init__(self, metering: Metering) -> None:
        self._metering = metering
        self._payer: Payer | None = None
        self._held_bytes = 0
        # Payload that the server sends itself, as far as it did not arrive.
        self._promised_bytes = 0
        # Most exchanges have one.
        self._spans: list[Span] = []
        # What sessions were given beyond the payload, since a lower layer is billed.
        self._topped_up = 0
        self._told: dict[str, int] | None = None
        self.add: Callable[[int], None] | None = None
        self.counter: HeldSession | Uncounted = _UNCOUNTED
        self.concluded: Readings | None = None

    def request(self) -> RequestView | None:
        """Return the request, for who must find out who pays; None: there is none."""
        return None

    def bill_to(self, payer: Payer) -> None:
        """Bill what is not billed yet, and what follows, to ``payer``."""
        if not self._spans or payer != self._payer:
            self._payer = payer
            self.add = None
            self.counter = _UNCOUNTED

    def hold(self, size: int) -> None:
        """Count a chunk that nobody pays for, as yet."""
        self._held_bytes += size
        self._metering.attribution.unattributed_bytes += size

    def promise(self, size: int) -> None:
        """Note payload that the server sends itself; only the kernel sees it (see ``take``)."""
        self._promised_bytes += size

    def take(self, payload: int) -> None:
        """Count promised bytes up to ``payload``: the kernel has them from the server now."""
        size = min(max(payload - self.payload_counted(), 0), self._promised_bytes)
        if size and self._spans:
            self._promised_bytes -= size
            self._spans[-1][0].add(size)

    @property
    def is_blind(self) -> bool:
        """Return whether payload is under way that only the kernel sees."""
        return self._promised_bytes > 0 and self.concluded is None

    @property
    def is_owed(self) -> bool:
        """Return whether there is something that somebody should pay for, if only a head."""
        if self._held_bytes > 0 or self._promised_bytes > 0:
            return True
        return self._metering.asks_for_heads and self.payload_counted() == 0

    def bill(self, payer: Payer) -> None:
        """Open a session of ``payer`` with what is held."""
        session = self._metering.attribution.open_session(self.request(), payer)
        if session is None:
            self.add = self.hold
            return
        session.evidence = self
        self._payer = payer
        # Whoever concludes meanwhile must not find bytes between their two places.
        with self._metering.connections.locked():
            before = self.payload_counted() - self._held_bytes
            self._metering.attribution.unattributed_bytes -= self._held_bytes
            session.add(self._held_bytes)
            self._held_bytes = 0
            self._spans.append(Span(session, before, self._topped_up))
            if self.concluded is not None:
                self._settle(self.concluded, last=True)
        self.add = session.add
        self.counter = session if _STORES_ARE_WHOLE else _UNCOUNTED

    async def find_payer(self, size: int) -> None:
        """Ask who pays, and bill ``size`` bytes and what other tasks send meanwhile to them."""
        # Those wait for the answer without waiting themselves.
        self.add = self.hold
        self.hold(size)
        request = self.request()
        assert request is not None, "where there is none, who pays is named at the start"
        payer = self._payer or await self._metering.attribution.find(request)
        payer = self._payer or payer
        if payer is not None and self.is_owed:
            self.bill(payer)

    def payload_counted(self) -> int:
        """Return the bytes of payload so far, without what is only promised."""
        counted = sum(span.session.total for span in self._spans)
        return counted + self._held_bytes - self._topped_up

    def payload_handed(self) -> int:
        """Return the bytes of payload so far."""
        return self.payload_counted() + self._promised_bytes

    def leave(self) -> None:
        """Leave what was counted to the parent, in a process that was forked."""
        for span in self._spans:
            span.session.forget()
        self._told = None
        self._held_bytes = self._promised_bytes = self._topped_up = 0
        self._spans = [Span(span.session, 0, 0) for span in self._spans[-1:]]
        if self._metering.layer != "payload":
            self._spans = []
            self.add = _leave
            self.counter = _UNCOUNTED

    @property
    def awaited(self) -> bool:
        """Return whether the application is done and bytes are still on their way."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Settle what is known to have arrived by now."""
        raise NotImplementedError

    def give_up(self) -> None:
        """Conclude with what is known, since the process ends."""
        raise NotImplementedError

    def _settle(self, readings: Readings, *, last: bool) -> None:
        if not self._spans:
            return
        payload = readings.payload.bytes
        for span, following in pairwise(self._spans):
            extra = following.topped_up - span.topped_up
            handed = following.before - span.before
            arrived = min(max(payload - span.before, 0), handed)
            _settle(span.session, arrived + extra, last=last)
        # What a lower layer has beyond the payload, and nobody was given yet, is who pays now's.
        session, before, topped_up = self._spans[-1]
        beyond = max(readings.of(self._metering.layer).bytes - payload, 0)
        share = max(payload - before, 0) + max(beyond - topped_up, 0)
        arrived = min(max(payload - self.payload_counted(), 0), self._promised_bytes)
        missing = max(share - session.total, 0)
        self._promised_bytes -= arrived
        self._topped_up += missing - arrived
        if missing:
            session.add(missing)
        self._tell_layers(session, readings)
        _settle(session, share, last=last)

    def _tell_layers(self, session: HeldSession, readings: Readings) -> None:
        told = self._told = self._told or {}
        for layer, side in session.sides.items():
            size, before = readings.of(layer).bytes, told.get(layer, 0)
            if size > before:
                side.add(size - before)
                told[layer] = size


def _leave(_size: int) -> None:
    """Count nothing."""


def _settle(session: HeldSession, share: int, *, last: bool) -> None:
    if last:
        session.finish(share)
    else:
        session.settle(share)
