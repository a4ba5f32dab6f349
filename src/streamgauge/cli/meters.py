"""``streamgauge meters``: what is measured, and what it costs."""

from __future__ import annotations

from typing import Any

import click

from streamgauge.cli import dodo
from streamgauge.cli.client import Client, Tree
from streamgauge.cli.columns import Column, Kind
from streamgauge.cli.conditions import parse_filter
from streamgauge.cli.connection import asks_server
from streamgauge.cli.lookup import find_meter
from streamgauge.cli.output import (
    Format,
    emit_fields,
    emit_json,
    emit_one,
    emit_rows,
    hint,
    output_option,
)
from streamgauge.cli.plans import Made, make
from streamgauge.cli.prices import Price, parse_price
from streamgauge.cli.progress import waiting
from streamgauge.core.errors import InvalidInputError

_COLUMNS = (
    Column("id", "id"),
    Column("name", "name"),
    Column("event_name", "event name"),
    Column("aggregation.type", "aggregation"),
    Column("aggregation.key", "over"),
    Column("measurement_unit", "unit"),
    Column("filter_text", "filter"),
    Column("created_at", "made", Kind.INSTANT),
)


@click.group()
def meters() -> None:
    """Meters: which events are added up, and what they cost."""


@meters.command("list")
@click.option("--archived", is_flag=True, help="The archived ones instead.")
@asks_server
@output_option
def list_(archived: bool, client: Client, output: Format) -> None:
    """List meters."""
    with waiting("Asking for meters"):
        found = list(client.items("meters", archived="true" if archived else None))
    emit_rows(output, [_row(each, output) for each in found], _COLUMNS, empty="No meters.")


@meters.command()
@click.argument("meter")
@asks_server
@output_option
def show(meter: str, client: Client, output: Format) -> None:
    """Show METER, an id or a name."""
    emit_one(output, _row(find_meter(client, meter), output), _COLUMNS)


@meters.command()
@click.argument("meter")
@asks_server
def archive(meter: str, client: Client) -> None:
    """Leave METER, an id or a name, out of lists and new prices; plans go on billing it."""
    id = find_meter(client, meter)["id"]
    client.ask("DELETE", "meters", id)
    hint(f"{id} is archived.")


@meters.command()
@click.argument("name")
@click.option("--sum", "sum_key", metavar="KEY", help="Add up this metadata value.")
@click.option("--count", is_flag=True, help="Count events.")
@click.option("--max", "max_key", metavar="KEY", help="The largest value of this metadata key.")
@click.option("--last", "last_key", metavar="KEY", help="The latest value of this metadata key.")
@click.option(
    "--unique", "unique_key", metavar="KEY", help="How many different values this key has."
)
@click.option("--avg", "avg_key", metavar="KEY", help="The average of this metadata value.")
@click.option("--event-name", help="Events with exactly this name.  [default: NAME]")
@click.option("--unit", default=None, help="What one is called.  [default: byte; event to count]")
@click.option("--price", metavar="AMOUNT", help="Price in whole currency, such as 0.05.")
@click.option("--per", metavar="UNIT", help="Price per byte, KB, MB, GB, TB, KiB, MiB, GiB, TiB.")
@click.option("--free", metavar="QUANTITY", help="Free in every month, such as 10GB.")
@click.option("--currency", metavar="CODE", help="ISO 4217, such as USD.")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only events whose metadata says so; also != > >= < <= ~ !~. Numbers compare as numbers; "
    "quotes make a text: 'year=\"2026\"'. Repeat it: all must hold.",
)
@click.option("--description", help="For people.")
@click.option(
    "--plan",
    default="Usage",
    show_default=True,
    help="The plan, for every customer, that bills it.",
)
@asks_server
@output_option
def create(  # noqa: PLR0917 - one parameter per option
    name: str,
    sum_key: str | None,
    count: bool,
    max_key: str | None,
    last_key: str | None,
    unique_key: str | None,
    avg_key: str | None,
    event_name: str | None,
    unit: str | None,
    price: str | None,
    per: str | None,
    free: str | None,
    currency: str | None,
    filters: tuple[str, ...],
    description: str | None,
    plan: str,
    client: Client,
    output: Format,
) -> None:
    """Make the meter NAME; with a price, bill it to every customer, month by month.

    Prints what to type into Dodo's dashboard for the same meter and price there.
    """
    keys = {
        "sum": sum_key,
        "max": max_key,
        "last": last_key,
        "unique": unique_key,
        "avg": avg_key,
    }
    aggregation = _aggregation(keys, count)
    unit = unit or ("event" if count else "byte")
    wanted = parse_price(price, per, free, currency, unit)
    meter = {
        "name": name,
        "event_name": event_name or name,
        "measurement_unit": unit,
        "aggregation": aggregation,
        "description": description,
        "filter": parse_filter(filters),
    }
    with waiting(f"Making {name}"):
        made = make(client, meter, wanted, plan)
    _emit_made(made, wanted, output)


def _aggregation(keys: dict[str, str | None], count: bool) -> dict[str, Any]:
    given: list[dict[str, Any]] = [
        {"type": type, "key": key} for type, key in keys.items() if key is not None
    ]
    if count:
        given.append({"type": "count", "key": None})
    if len(given) != 1:
        raise InvalidInputError(
            "the aggregation",
            [each["type"] for each in given],
            "be one of --count and --sum, --max, --last, --unique or --avg with a KEY",
        )
    return given[0]


def _emit_made(made: Made, price: Price | None, output: Format) -> None:
    for other in made.twice:
        hint(
            f"Warning: {other['name']} ({other['id']}) in the same plan takes these events too; "
            "what both take is billed twice."
        )
    if output is not Format.TABLE:
        figures = dodo.figures(made.meter, price)
        document = {"meter": made.meter, "product": made.product, "dodo": figures}
        if output is Format.JSON:
            emit_json(document)
        else:
            emit_rows(output, [made.meter | figures], [Column("id", ""), *_csv(figures)])
        return
    fields = [("Meter", f"{made.meter['id']} ({made.meter['name']})")]
    if made.product is not None:
        id, name = made.product["product_id"], made.product["name"]
        fields.append(("Plan for every customer", f"{id} ({name})"))
    emit_fields(fields)
    click.echo()
    emit_fields(dodo.lines(made.meter, price), title="For the same in Dodo's dashboard, type:")


def _csv(figures: Tree) -> list[Column]:
    return [Column(name, name) for name in figures]


def _row(meter: Tree, output: Format) -> Tree:
    return meter if output is Format.JSON else meter | {"filter_text": dodo.filter_text(meter)}
