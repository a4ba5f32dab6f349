"""``streamgauge events``: what arrived."""

from __future__ import annotations

import time
from datetime import datetime
from itertools import islice

import click

from streamgauge.cli.client import Client, Tree
from streamgauge.cli.columns import Column, Kind
from streamgauge.cli.connection import asks_server
from streamgauge.cli.exact_json import one_line
from streamgauge.cli.lookup import find_meter
from streamgauge.cli.output import Format, emit_rows, output_option
from streamgauge.cli.progress import waiting
from streamgauge.cli.tail import Tail
from streamgauge.cli.times import INSTANT
from streamgauge.core.clock import iso

_COLUMNS = (
    Column("timestamp", "used at", Kind.INSTANT),
    Column("customer_id", "customer"),
    Column("event_name", "event name"),
    Column("metadata", "metadata"),
    Column("event_id", "event id"),
)
_EVERY_S = 1.0


@click.group()
def events() -> None:
    """Usage events as they arrived."""


@events.command("list")
@click.option("--customer", metavar="ID", help="Of this customer only.")
@click.option("--event-name", metavar="NAME", help="With this name only.")
@click.option("--meter", metavar="METER", help="That this meter takes; an id or a name.")
@click.option("--from", "start", type=INSTANT, metavar="TIME", help="Used at or after.")
@click.option("--to", "end", type=INSTANT, metavar="TIME", help="Used before.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most.")
@asks_server
@output_option
def list_(
    customer: str | None,
    event_name: str | None,
    meter: str | None,
    start: datetime | None,
    end: datetime | None,
    limit: int,
    client: Client,
    output: Format,
) -> None:
    """List events."""
    with waiting("Asking for events"):
        found = client.items(
            "events",
            customer_id=customer,
            event_name=event_name,
            meter_id=find_meter(client, meter)["id"] if meter else None,
            start=start and iso(start),
            end=end and iso(end),
        )
        rows = list(islice(found, limit))
    emit_rows(output, rows, _COLUMNS, empty="No events.")


@events.command()
@click.option("--customer", metavar="ID", help="Of this customer only.")
@click.option("--event-name", metavar="NAME", help="With this name only.")
@click.option(
    "--lines",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="Begin with so many.",
)
@asks_server
def tail(customer: str | None, event_name: str | None, lines: int, client: Client) -> None:
    """Print events as they arrive, one JSON object a line, until Ctrl-C."""
    watched = Tail(client, customer_id=customer, event_name=event_name)
    _print(watched.first(lines))
    while True:
        time.sleep(_EVERY_S)
        _print(watched.news())


def _print(found: list[Tree]) -> None:
    for event in found:
        click.echo(one_line(event))
