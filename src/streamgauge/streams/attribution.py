"""Whom a response is billed to: asks ``customer=`` and ``metadata=``, checks what they say.

Both are the caller's functions. Whatever they do, the response goes on; bytes whose payer is not
found are counted here as nobody's, and the trouble is counted and logged once a minute.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

from streamgauge.core.clock import Clock
from streamgauge.core.errors import InvalidInputError, StreamgaugeError
from streamgauge.core.events import check_text_id
from streamgauge.core.limits import CUSTOMER_WAIT_S
from streamgauge.core.payers import NOBODY, Payer
from streamgauge.sdk.held import HeldSession
from streamgauge.sdk.ingestion import Ingestion
from streamgauge.streams.payers import Complaints
from streamgauge.streams.view import RequestView

Customer = Callable[[RequestView], str | Awaitable[str | None] | None]
"""Says who pays for a request; None: nobody. Servers of WSGI cannot await."""
Metadata = Mapping[str, object] | Callable[[RequestView], Mapping[str, object] | None]
"""What the bytes of a request are, or a function that says so."""

T = TypeVar("T")

_CUSTOMER_FAILED: Final = "customer= failed; its response is billed to nobody"


class Attribution:
    """Finds payers for one middleware, and counts what has none.

    Args:
        ingestion: Where to.
        customer: Asked once for a response that ``bill_to`` named no customer for.
        metadata: What the bytes are, or a function that says so; ``bill_to`` adds.
        layers_told: Layers whose bytes stand in the metadata of events.
        clock: Spaces log lines.

    Attributes:
        unattributed_bytes: Bytes that were sent and are billed to nobody.
        customer_wait_s: How long an asynchronous ``customer`` may take.
    """

    def __init__(
        self,
        ingestion: Ingestion,
        *,
        customer: Customer | None,
        metadata: Metadata | None,
        layers_told: Sequence[str] = (),
        clock: Clock,
    ) -> None:
        self._ingestion = ingestion
        self._customer = customer
        self._metadata = metadata
        self._layers_told = layers_told
        self._complaints = Complaints(clock)
        self.customer_wait_s = CUSTOMER_WAIT_S
        self.unattributed_bytes = 0

    @property
    def failures(self) -> int:
        """Return how often a customer could not be found out or billed."""
        return self._complaints.count

    async def find(self, request: RequestView) -> Payer | None:
        """Return whom ``customer`` names, if it does; a failure of it is nobody.

        An asynchronous ``customer`` is cancelled when its time is over, on an asyncio loop.
        """
        if self._customer is None:
            return None
        try:
            named = self._customer(request)
            if inspect.isawaitable(named):
                named = await self._bounded(named)
            return _payer(named)
        except Exception as error:  # noqa: BLE001 - the caller's function; the stream goes on
            self._complaints.add(_CUSTOMER_FAILED, error)
        return None

    def find_now(self, request: RequestView) -> Payer | None:
        """Return the same where nothing can be awaited; an asynchronous ``customer`` fails."""
        if self._customer is None:
            return None
        try:
            return _payer(_not_awaitable(self._customer(request), "customer="))
        except Exception as error:  # noqa: BLE001 - the caller's function; the stream goes on
            self._complaints.add(_CUSTOMER_FAILED, error)
        return None

    def complain(self, what: str, error: Exception) -> None:
        """Count a failure of the caller's, and log it seldom."""
        self._complaints.add(what, error)

    def open_session(self, request: RequestView | None, payer: Payer) -> HeldSession | None:
        """Return a session of ``payer``, or None if there can be none."""
        if payer is NOBODY:
            return None
        try:
            own = self._metadata
            if callable(own):
                assert request is not None, "where there are no requests, metadata is plain"
                own = _not_awaitable(own(request), "metadata=")
            metadata = {**(own or {}), **payer.metadata}
            return self._ingestion.held_session(
                customer_id=payer.customer_id, metadata=metadata, layers=self._layers_told
            )
        except StreamgaugeError as error:
            self._complaints.add("a response is billed to nobody", error)
        except Exception as error:  # noqa: BLE001 - the caller's function; the stream goes on
            self._complaints.add("metadata= failed; its response is billed to nobody", error)
        return None

    async def _bounded(self, answer: Awaitable[str | None]) -> str | None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # A server on trio; its own timeouts bound the request.
            return await answer
        wait = asyncio.timeout(self.customer_wait_s)
        try:
            async with wait:
                return await answer
        except TimeoutError:
            if wait.expired():
                raise TimeoutError(f"no answer within {self.customer_wait_s} s") from None
            raise


def _payer(named: object) -> Payer | None:
    return None if named is None else Payer(check_text_id(named, field="customer_id"), {})


def _not_awaitable(answer: T, option: str) -> T:
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise InvalidInputError(option, type(answer).__name__, "answer at once, not be awaited")
    return answer
