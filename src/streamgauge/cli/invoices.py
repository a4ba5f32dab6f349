"""``streamgauge invoices``: what customers owe, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from streamgauge.cli.client import Client, Tree
from streamgauge.cli.columns import Column, Kind
from streamgauge.cli.connection import asks_server
from streamgauge.cli.exact_json import with_exact_numbers
from streamgauge.cli.invoice_text import print_invoice
from streamgauge.cli.line_events import events_of_line, the_line
from streamgauge.cli.output import (
    Format,
    emit_csv,
    emit_json,
    emit_rows,
    hint,
    output_option,
    quantity,
)
from streamgauge.cli.progress import waiting
from streamgauge.cli.times import INSTANT
from streamgauge.core.clock import iso

_COLUMNS = (
    Column("id", "id"),
    Column("customer_id", "customer"),
    Column("product_name", "for"),
    Column("start", "from", Kind.INSTANT),
    Column("end", "to, excluded", Kind.INSTANT),
    Column("total_text", "total", Kind.FIGURE),
    Column("created_at", "made", Kind.INSTANT),
)
_CSV_COLUMNS = (*_COLUMNS[:5], Column("currency", ""), Column("total", ""), _COLUMNS[-1])
_LINE_COLUMNS = tuple(
    Column(key, key)
    for key in (
        "invoice_id",
        "status",
        "customer_id",
        "product_id",
        "start",
        "end",
        "cut",
        "number",
        "title",
        "meter_id",
        "event_name",
        "measurement_unit",
        "events",
        "not_counted",
        "consumed_units",
        "free_units",
        "chargeable_units",
        "price_per_unit",
        "price_unit",
        "exact_amount",
        "amount",
        "currency",
    )
)
_EVENT_COLUMNS = (
    Column("timestamp", "used at", Kind.INSTANT),
    Column("units", "adds", Kind.QUANTITY),
    Column("event_id", "event id"),
    Column("received_at", "received at", Kind.INSTANT),
    Column("log_position", "log position", Kind.FIGURE),
    Column("metadata", "metadata"),
)
_INVOICE_PREFIX = "inv_"


@click.group()
def invoices() -> None:
    """Invoices: preview them, keep them, explain them down to the event."""


@invoices.command("list")
@click.option("--customer", metavar="ID", help="Of this customer only.")
@asks_server
@output_option
def list_(customer: str | None, client: Client, output: Format) -> None:
    """List final invoices."""
    with waiting("Asking for invoices"):
        found = list(client.items("v1", "invoices", customer_id=customer))
    columns = _CSV_COLUMNS if output is Format.CSV else _COLUMNS
    emit_rows(output, found, columns, empty="No final invoices.")


@invoices.command()
@click.argument("customer")
@click.option("--at", type=INSTANT, metavar="TIME", help="Of the period that holds this instant.")
@asks_server
@output_option
def preview(customer: str, at: datetime | None, client: Client, output: Format) -> None:
    """Show what CUSTOMER owes so far; one invoice per subscription or plan."""
    with waiting("Drawing up the invoice"):
        answer = client.get("v1", "invoices", "preview", customer_id=customer, at=at and iso(at))
    _emit(answer, output)


@invoices.command()
@click.argument("customer")
@click.option(
    "--at",
    type=INSTANT,
    metavar="TIME",
    help="The period that holds this instant.  [default: the one that ended last]",
)
@asks_server
@output_option
def finalise(customer: str, at: datetime | None, client: Client, output: Format) -> None:
    """Keep the invoices of CUSTOMER for a period that has ended; again gives the same ones."""
    body = {"customer_id": customer} | ({"at": iso(at)} if at else {})
    with waiting("Finalising"):
        answer = client.post("v1", "invoices", "finalise", body=body)
    _emit(answer, output)


@invoices.command()
@click.argument("invoice")
@click.option("--line", type=click.IntRange(1), metavar="N", help="List the events of this line.")
@click.option(
    "--product", metavar="PRODUCT", help="Of a customer with several invoices: this id or name."
)
@click.option("--late", is_flag=True, help="Those that came after the cut, on no invoice.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most.")
@asks_server
@output_option
def explain(
    invoice: str,
    line: int | None,
    product: str | None,
    late: bool,
    limit: int,
    client: Client,
    output: Format,
) -> None:
    """Explain INVOICE, the id of a final one, or a customer for what is owed so far.

    Without --line, how every amount came about; with it, the events that add up to its quantity.
    """
    with waiting("Explaining"):
        found = _invoices(client, invoice, product)
        if line is None:
            _emit({"items": found}, output, explain=True)
            return
        chosen, of = the_line(found, line)
        events = events_of_line(client, chosen, of, late=late, limit=limit)
    rows = [each | {"measurement_unit": of["measurement_unit"]} for each in events]
    emit_rows(output, rows, _EVENT_COLUMNS, empty="No events.")
    if output is Format.TABLE and not late:
        whole = quantity(with_exact_numbers(of)["consumed_units"], of["measurement_unit"])
        hint(f"{of['title']}: {of['events']:,} events add up to {whole}; {len(rows):,} shown.")


def _invoices(client: Client, name: str, product: str | None) -> list[Tree]:
    if name.startswith(_INVOICE_PREFIX):
        return [client.get("v1", "invoices", name)]
    found = client.get("v1", "invoices", "preview", customer_id=name)["items"]
    return [each for each in found if product in {None, each["product_id"], each["product_name"]}]


def _emit(answer: Tree, output: Format, *, explain: bool = False) -> None:
    exact = with_exact_numbers(answer)
    if output is Format.JSON:
        emit_json(exact)
        return
    if output is Format.CSV:
        emit_csv(
            [_flat(each, line) for each in exact["items"] for line in each["lines"]], _LINE_COLUMNS
        )
        return
    for each in exact["items"]:
        print_invoice(each, explain=explain)
    if note := answer.get("note"):
        hint(note)


def _flat(invoice: Tree, line: Tree) -> dict[str, Any]:
    return line | invoice | {"invoice_id": invoice["id"]}
