"""``streamgauge customers``: who pays."""

from __future__ import annotations

import click

from streamgauge.cli.client import Client
from streamgauge.cli.columns import Column, Kind
from streamgauge.cli.connection import asks_server
from streamgauge.cli.output import Format, emit_one, emit_rows, output_option
from streamgauge.cli.progress import waiting

_COLUMNS = (
    Column("customer_id", "id"),
    Column("name", "name"),
    Column("email", "email"),
    Column("phone_number", "phone"),
    Column("metadata", "metadata"),
    Column("created_at", "made", Kind.INSTANT),
)


@click.group()
def customers() -> None:
    """Customers: who pays. Events may name one before it is made."""


@customers.command("list")
@click.option("--name", metavar="PART", help="Names with this part, whatever the case.")
@click.option("--email", metavar="PART", help="Addresses with this part, whatever the case.")
@asks_server
@output_option
def list_(name: str | None, email: str | None, client: Client, output: Format) -> None:
    """List customers."""
    with waiting("Asking for customers"):
        found = list(client.items("customers", name=name, email=email))
    emit_rows(output, found, _COLUMNS, empty="No customers.")


@customers.command()
@click.option("--id", "customer_id", metavar="ID", help="What events name; else one is minted.")
@click.option("--name", required=True, help="For people.")
@click.option("--email", required=True, help="Where people write to.")
@click.option("--phone", metavar="NUMBER", help="For people.")
@asks_server
@output_option
def create(
    customer_id: str | None,
    name: str,
    email: str,
    phone: str | None,
    client: Client,
    output: Format,
) -> None:
    """Make a customer."""
    given = {"customer_id": customer_id, "name": name, "email": email, "phone_number": phone}
    body = {field: value for field, value in given.items() if value is not None}
    emit_one(output, client.post("customers", body=body), _COLUMNS)


@customers.command()
@click.argument("id")
@asks_server
@output_option
def show(id: str, client: Client, output: Format) -> None:
    """Show the customer ID."""
    emit_one(output, client.get("customers", id), _COLUMNS)
