"""Invoices: preview, finalise, list, get, and explain a line down to its events."""

from __future__ import annotations

import os
from datetime import datetime

import msgspec

from streamgauge.core.clock import Clock, utc
from streamgauge.core.errors import ConflictError, InvalidInputError, NotFoundError
from streamgauge.core.ids import Entropy, new_id
from streamgauge.server.billing.accounts import Account, of_customer, of_subscription
from streamgauge.server.billing.history import HistoryQuery, UsageHistory, usage_history
from streamgauge.server.billing.reading import ExplainedEvent, Span, read_events, read_usage
from streamgauge.server.billing.statement import Statements
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.texts import Page
from streamgauge.server.metering.windows import Window, in_utc
from streamgauge.server.rating.invoice import Invoice, InvoiceLine, InvoiceStatus
from streamgauge.server.rating.money import exact_text
from streamgauge.server.rating.rate import Usage
from streamgauge.server.store import EventStore
from streamgauge.server.store.segments import ROW_BITS, log_position


class Whose(msgspec.Struct, frozen=True, kw_only=True):
    """Which accounts are asked for: all of a customer's, or one subscription's.

    Attributes:
        customer_id: Also one that only events know.
        subscription_id: Instead of a customer.
        at: Any instant of the period; without it the running one (to preview) or the one that
            ended last (to finalise).
    """

    customer_id: str | None = None
    subscription_id: str | None = None
    at: datetime | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The events behind a figure, one page of them.

    Attributes:
        title: What the figure is.
        units: The figure: exact decimal text; the sum over all pages of what the events add.
        events: How many events add to it, over all pages.
        not_counted: How many more are listed though they hold no number to add.
        items: This page, newest first.
    """

    title: str
    units: str
    events: int
    not_counted: int
    items: list[ExplainedEvent]


class Billing:
    """Bills customers; safe to use from several threads, calls block.

    Every ``cut`` is a log position up to which the caller knows everything to be stored; without
    one, everything that is stored counts.
    """

    def __init__(
        self, catalog: Catalog, store: EventStore, *, clock: Clock, entropy: Entropy = os.urandom
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._statements = Statements(catalog, store)

    def preview(self, mode: str, whose: Whose, *, cut: int | None = None) -> list[Invoice]:
        """Return what is owed so far for the running period, or for the one that holds ``at``.

        A period that was finalised is answered with its final invoice.

        Raises:
            NotFoundError: No event or row knows the customer, or no subscription has the id.
            InvalidInputError: The subscription has no period then.
            UnsupportedError: A price or a meter cannot be evaluated yet.
        """
        now, cut = utc(self._clock.time_ns()), self._cut(cut)
        at = now if whose.at is None else in_utc(whose.at)
        accounts = self._accounts(mode, whose)
        if whose.subscription_id is None:
            accounts = [account for account in accounts if account.covers(at)]
        return [self._drawn(mode, account, account.period(at), cut, now) for account in accounts]

    def finalise(self, mode: str, whose: Whose, *, cut: int | None = None) -> list[Invoice]:
        """Keep the invoices of a period that has ended; twice gives the same invoices.

        Raises:
            NotFoundError: No event or row knows the customer, or no subscription has the id.
            InvalidInputError: The subscription has no period then.
            ConflictError: The period has not ended.
            UnsupportedError: A price or a meter cannot be evaluated yet.
        """
        now, cut = utc(self._clock.time_ns()), self._cut(cut)
        found = []
        for account in self._accounts(mode, whose):
            period = _period_to_finalise(account, whose, now)
            if period is not None:
                found.append(self._finalised(mode, account, period, cut, now))
        return found

    def get(self, mode: str, id: str) -> Invoice:
        """Return a final invoice, with the usage that arrived after its cut beside it.

        Raises:
            NotFoundError: No invoice has this id.
        """
        return self._with_late(self._catalog.invoices.get(mode, id))

    def finals(self, mode: str, *, customer_id: str | None, page: Page) -> list[Invoice]:
        """Return final invoices as they were kept, oldest first, without late usage."""
        return self._catalog.invoices.list(mode, customer_id=customer_id, page=page)

    def explain(self, mode: str, id: str, number: int, page: Page, *, late: bool) -> Explanation:
        """Return the events behind a line of a final invoice, or those that came too late for it.

        Raises:
            NotFoundError: No invoice has this id, or no line has this number.
            InvalidInputError: The line is a fixed price.
        """
        invoice = self._catalog.invoices.get(mode, id)
        line = _line(invoice, number)
        span = self._statements.span(invoice, line)
        if late:
            span = msgspec.structs.replace(span, after=span.up_to, up_to=None)
        title = f"{line.title}: {'after the cut' if late else line.measures}"
        usage = None if late else line.usage
        return self.explain_span(title, span, page, usage)

    def explain_span(
        self, title: str, span: Span, page: Page, usage: Usage | None = None
    ) -> Explanation:
        """Return the events behind any figure of a meter; ``usage`` if the figure is known."""
        figure = read_usage(self._store, span) if usage is None else usage
        return Explanation(
            title=title,
            units=exact_text(figure.quantity),
            events=figure.events,
            not_counted=figure.not_counted,
            items=read_events(self._store, span, limit=page.size, offset=page.offset),
        )

    def usage_history(self, mode: str, subscription_id: str, query: HistoryQuery) -> UsageHistory:
        """Return the billing periods of a subscription, newest first; see ``history``."""
        return usage_history(self._catalog, self._store, self._clock, mode, subscription_id, query)

    def _cut(self, cut: int | None) -> int:
        if cut is not None:
            return cut
        return log_position(self._store.newest_segment(), (1 << ROW_BITS) - 1)

    def _accounts(self, mode: str, whose: Whose) -> list[Account]:
        if (whose.customer_id is None) == (whose.subscription_id is None):
            raise InvalidInputError(
                "customer_id", whose.customer_id, "be given, or else a subscription_id, not both"
            )
        if whose.subscription_id is not None:
            subscription = self._catalog.subscriptions.get(mode, whose.subscription_id)
            return [of_subscription(self._catalog, subscription)]
        assert whose.customer_id is not None, "one of them was given"
        self._check_known(mode, whose.customer_id)
        return of_customer(self._catalog, mode, whose.customer_id)

    def _check_known(self, mode: str, customer_id: str) -> None:
        """Refuse an id that nothing knows: a zero for a mistyped id would be believed."""
        if self._catalog.customers.find(mode, customer_id) is not None:
            return
        if not self._store.events(
            business_id=self._catalog.business_id, mode=mode, customer_id=customer_id, limit=1
        ):
            raise NotFoundError("customer", customer_id)

    def _drawn(
        self, mode: str, account: Account, period: Window, cut: int, now: datetime
    ) -> Invoice:
        kept = self._catalog.invoices.find(mode, account.key, period.start)
        if kept is not None:
            return self._with_late(kept)
        return self._statements.draw(mode, account, period, cut=cut, now=now)

    def _finalised(
        self, mode: str, account: Account, period: Window, cut: int, now: datetime
    ) -> Invoice:
        drawn = self._drawn(mode, account, period, cut, now)
        if drawn.status is InvoiceStatus.FINAL:
            return drawn
        id = new_id("inv", time_ns=self._clock.time_ns, entropy=self._entropy)
        final = msgspec.structs.replace(drawn, id=id, status=InvoiceStatus.FINAL)
        return self._with_late(self._catalog.invoices.keep(mode, account.key, final))

    def _with_late(self, invoice: Invoice) -> Invoice:
        return msgspec.structs.replace(invoice, unbilled_late=self._statements.late(invoice))


def _period_to_finalise(account: Account, whose: Whose, now: datetime) -> Window | None:
    if whose.at is None:
        period = account.ended_period(now)
        if period is None and whose.subscription_id is not None:
            raise ConflictError(f"no period of subscription {account.key} has ended yet")
        return period
    at = in_utc(whose.at)
    if whose.subscription_id is None and not account.covers(at):
        return None
    period = account.period(at)
    if period.end > now:
        raise ConflictError(
            f"the period ends at {period.end.isoformat()}; only one that has ended is finalised"
        )
    return period


def _line(invoice: Invoice, number: int) -> InvoiceLine:
    for line in invoice.lines:
        if line.number == number:
            if line.meter_id is None:
                raise InvalidInputError("line", number, "have a meter; a fixed price has no events")
            return line
    raise NotFoundError("invoice line", f"{invoice.id}/{number}")
