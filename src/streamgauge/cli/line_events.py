"""The events behind an invoice's line, final or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from streamgauge.cli.client import Client, Tree
from streamgauge.cli.exact_json import with_exact_numbers
from streamgauge.core.errors import InvalidInputError


def the_line(invoices: Sequence[Tree], number: int) -> tuple[Tree, Tree]:
    """Return the invoice and its line of this number.

    Raises:
        InvalidInputError: There is none, several invoices have one, or it has no events.
    """
    found = [
        (invoice, line)
        for invoice in invoices
        for line in invoice["lines"]
        if line["number"] == number
    ]
    if not found:
        most = max((len(invoice["lines"]) for invoice in invoices), default=0)
        raise InvalidInputError("--line", number, f"be the number of a line, from 1 to {most}")
    if len(found) > 1:
        raise InvalidInputError(
            "--line",
            number,
            "be of one invoice; choose one with --product",
        )
    if found[0][1]["meter_id"] is None:
        raise InvalidInputError("--line", number, "have a meter; a fixed price has no events")
    return found[0]


def events_of_line(
    client: Client, invoice: Tree, line: Tree, *, late: bool, limit: int
) -> list[Tree]:
    """Return up to ``limit`` events of a line, newest first; ``units`` is what each adds."""
    found = (
        _of_final(client, invoice, line, late)
        if invoice["id"]
        else _of_preview(client, invoice, line)
    )
    return [with_exact_numbers(each) for each in islice(found, limit)]


def _of_final(client: Client, invoice: Tree, line: Tree, late: bool) -> Iterator[Tree]:
    return client.items(
        *("v1", "invoices", invoice["id"], "lines", str(line["number"]), "events"),
        late="true" if late else None,
    )


def _of_preview(client: Client, invoice: Tree, line: Tree) -> Iterator[Tree]:
    for window in reversed(line["windows"]):
        yield from client.items(
            *("v1", "usage", "events"),
            meter_id=line["meter_id"],
            customer_id=invoice["customer_id"],
            start=window["start"],
            end=window["end"],
        )
