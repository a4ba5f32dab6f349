"""``streamgauge usage``: what a meter says."""

from __future__ import annotations

from datetime import datetime

import click

from streamgauge.cli.client import Client, Tree
from streamgauge.cli.columns import Column, Kind
from streamgauge.cli.connection import asks_server
from streamgauge.cli.exact_json import with_exact_numbers
from streamgauge.cli.lookup import find_meter
from streamgauge.cli.output import (
    Format,
    emit_json,
    emit_rows,
    hint,
    instant,
    output_option,
    quantity,
)
from streamgauge.cli.progress import waiting
from streamgauge.cli.times import INSTANT
from streamgauge.core.clock import iso

_FIGURES = (
    Column("quantity", "quantity", Kind.QUANTITY),
    Column("events", "events", Kind.FIGURE),
    Column("not_counted", "not counted", Kind.FIGURE),
)
_CUSTOMER = Column("customer_id", "customer")
_BUCKETS = ("minute", "hour", "day", "month")


@click.group()
def usage() -> None:
    """Usage: what a meter says of customers and time, exactly."""


@usage.command()
@click.argument("meter")
@click.option("--customer", metavar="ID", help="Of this customer only.")
@click.option("--from", "start", type=INSTANT, metavar="TIME", help="[default: this UTC month]")
@click.option("--to", "end", type=INSTANT, metavar="TIME", help="Excluded.")
@click.option(
    "--by",
    "keys",
    multiple=True,
    metavar="KEY",
    help="Tell apart by this metadata key, or by customer_id; repeat it for several.",
)
@click.option("--bucket", type=click.Choice(_BUCKETS), help="Cut time, in UTC.")
@asks_server
@output_option
def query(
    meter: str,
    customer: str | None,
    start: datetime | None,
    end: datetime | None,
    keys: tuple[str, ...],
    bucket: str | None,
    client: Client,
    output: Format,
) -> None:
    """Ask METER, an id or a name, for usage."""
    with waiting("Adding up"):
        answer = client.get(
            "v1",
            "usage",
            meter_id=find_meter(client, meter)["id"],
            customer_id=customer,
            start=start and iso(start),
            end=end and iso(end),
            group_by=keys,
            bucket=bucket,
        )
    columns = [Column("bucket", "from", Kind.INSTANT)] if bucket else []
    columns += [_CUSTOMER] if "customer_id" in keys else []
    columns += [Column(f"group.{key}", key) for key in keys if key != "customer_id"]
    _emit(output, answer, (*columns, *_FIGURES))


@usage.command()
@click.argument("meter")
@click.option("--from", "start", type=INSTANT, metavar="TIME", help="[default: this UTC month]")
@click.option("--to", "end", type=INSTANT, metavar="TIME", help="Excluded.")
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="So many.")
@asks_server
@output_option
def top(
    meter: str,
    start: datetime | None,
    end: datetime | None,
    limit: int,
    client: Client,
    output: Format,
) -> None:
    """List the customers for whom METER, an id or a name, says most."""
    with waiting("Adding up"):
        answer = client.get(
            "v1",
            "usage",
            meter_id=find_meter(client, meter)["id"],
            start=start and iso(start),
            end=end and iso(end),
            top=limit,
        )
    _emit(output, answer, (_CUSTOMER, *_FIGURES))


def _emit(output: Format, answer: Tree, columns: tuple[Column, ...]) -> None:
    exact = with_exact_numbers(answer)
    if output is Format.JSON:
        emit_json(exact)
        return
    unit = exact["measurement_unit"]
    rows = [each | {"measurement_unit": unit} for each in exact["items"]]
    emit_rows(output, rows, columns, empty="No usage.")
    if output is Format.TABLE:
        total = quantity(exact["quantity"], unit)
        window = f"{instant(exact['start'])} to {instant(exact['end'])}, excluded"
        hint(f"{exact['measures']}: {total} in all, from {window}.")
        if exact["not_counted"]:
            hint(f"{exact['not_counted']:,} events hold no number to add.")
