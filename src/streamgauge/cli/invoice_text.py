"""An invoice for people, every figure with where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import click

from streamgauge.cli.client import Tree
from streamgauge.cli.columns import Column, Kind
from streamgauge.cli.output import emit_fields, emit_table, instant, quantity
from streamgauge.server.rating.money import exact_text, format_money, places

_COLUMNS = (
    Column("number", "line", Kind.FIGURE),
    Column("title", "meter"),
    Column("consumed_units", "consumed", Kind.QUANTITY),
    Column("free_units", "- free", Kind.QUANTITY),
    Column("chargeable_units", "= chargeable", Kind.QUANTITY),
    Column("price", "x price"),
    Column("amount", "= amount", Kind.FIGURE),
)


def print_invoice(invoice: Tree, *, explain: bool) -> None:
    """Write an invoice whose quantities are numbers; ``explain`` adds each line's arithmetic."""
    emit_fields(list(_head(invoice)))
    click.echo()
    rows = [_row(invoice, line) for line in invoice["lines"]]
    rows.append(["", "Total", "", "", "", "", invoice["total_text"]])
    emit_table(rows, _COLUMNS, [*("" for _ in invoice["lines"]), "bold"])
    click.echo()
    if explain:
        for line in invoice["lines"]:
            emit_fields(list(_arithmetic(line)), title=f"Line {line['number']}: {line['title']}")
            click.echo()
    emit_fields(list(_foot(invoice)))
    click.echo()


def price_text(line: Tree, currency: str) -> str:
    """Return what a line's unit costs, in whole currency."""
    if line["price_per_unit"] is None:
        return ""
    amount = exact_text(Fraction(line["price_per_unit"]) / 10 ** places(currency))
    return f"{amount} {currency} per {line['price_unit'] or line['measurement_unit']}"


def _head(invoice: Tree) -> Iterator[tuple[str, str]]:
    final = invoice["status"] == "final"
    yield "Invoice", invoice["id"] if final else "preview: what is owed so far"
    known = "" if invoice["customer_known"] else " (named by events only)"
    yield "Customer", invoice["customer_id"] + known
    yield "For", f"{invoice['product_name']} ({invoice['product_id']})"
    yield "Period", f"{instant(invoice['start'])} to {instant(invoice['end'])}, excluded"


def _row(invoice: Tree, line: Tree) -> list[str]:
    amount = format_money(line["amount"], invoice["currency"])
    if line["meter_id"] is None:
        return [str(line["number"]), line["title"], "", "", "", "", amount]
    unit = line["measurement_unit"]
    return [
        str(line["number"]),
        line["title"],
        quantity(line["consumed_units"], unit),
        quantity(line["free_units"], unit),
        quantity(line["chargeable_units"], unit),
        price_text(line, invoice["currency"]),
        amount,
    ]


def _arithmetic(line: Tree) -> Iterator[tuple[str, str]]:
    yield "Takes", line["measures"] or ""
    if line["meter_id"] is not None:
        yield "Events", f"{line['events']:,}"
    if line["not_counted"]:
        yield "Not counted", f"{line['not_counted']:,} events hold no number to add"
    yield "Exactly", f"{line['exact_amount']} minor units"
    yield "So", line["explanation"]


def _foot(invoice: Tree) -> Iterator[tuple[str, str]]:
    yield "Cut", f"events up to log position {invoice['cut']} are in here"
    yield "Rounding", invoice["rounding"]
    for note in invoice["notes"]:
        yield "Note", note
    for late in invoice["unbilled_late"]:
        amount = format_money(late["amount"], invoice["currency"])
        events = "1 event" if late["events"] == 1 else f"{late['events']:,} events"
        more = f"{events}, {quantity(late['units'], '')} more"
        text = f"{more}: came after the cut, on no invoice; would cost {amount}"
        yield f"Late on line {late['line']}", text
