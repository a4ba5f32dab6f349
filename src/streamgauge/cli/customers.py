"""``streamgauge customers``: who pays."""

from __future__ import annotations

import time
from typing import Final

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

_FORGOTTEN = (
    Column("customer_id", "forgotten"),
    Column("mode", "mode"),
    Column("done_at", "done", Kind.INSTANT),
    Column("kept", "metadata kept"),
    Column("by_hand", "left for you"),
)
_AGAIN_S: Final = 1


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
@click.confirmation_option(prompt="Nothing brings it back. Forget this customer?")
@asks_server
@output_option
def forget(id: str, client: Client, output: Format) -> None:
    """Forget the customer ID: what is personal goes, for good.

    Name, address, phone number and metadata of the customer become a tombstone, its subscriptions
    keep the country, and its events keep the metadata that meters measure or filter by. Quantities,
    ids and invoices stay as they are, so bills stay provable. Events that come later are kept as
    they are sent; forget again when there were some.
    """
    with waiting("Rewriting events"):
        while (answer := client.post("v1", "customers", id, "forget"))["done_at"] is None:
            time.sleep(_AGAIN_S)
    emit_one(output, answer, _FORGOTTEN)


@customers.command()
@click.argument("id")
@asks_server
@output_option
def show(id: str, client: Client, output: Format) -> None:
    """Show the customer ID."""
    emit_one(output, client.get("customers", id), _COLUMNS)
