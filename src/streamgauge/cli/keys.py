"""``streamgauge keys``: works on the data directory's files, also while a server runs."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from streamgauge.cli.columns import Column, Kind
from streamgauge.cli.data_dir import catalog_of, catalog_option, data_dir_option
from streamgauge.cli.output import Format, emit_one, emit_rows, hint, output_option
from streamgauge.core.events import MODES
from streamgauge.core.keys import KEY_SCOPES, KeyScope

_COLUMNS = (
    Column("id", "id"),
    Column("mode", "mode"),
    Column("name", "name"),
    Column("hint", "ends in"),
    Column("scope", "may"),
    Column("strict_timestamps", "strict"),
    Column("created_at", "made", Kind.INSTANT),
    Column("revoked_at", "revoked", Kind.INSTANT),
)


@click.group()
def keys() -> None:
    """API keys: make, list and revoke them, on the server's files."""


@keys.command()
@click.option("--mode", type=click.Choice(MODES), required=True, help="A key opens one mode.")
@click.option("--name", required=True, help="For people, to tell keys apart.")
@data_dir_option
@catalog_option
@click.option(
    "--scope",
    type=click.Choice(KEY_SCOPES),
    help="read: see everything of its mode. write: also send events and change the catalog. "
    "admin: also make and revoke keys.  [default: admin]",
)
@click.option("--read-only", is_flag=True, help="The same as --scope read.")
@click.option(
    "--strict-timestamps",
    is_flag=True,
    help="Refuse events that are more than an hour old, as Dodo does.",
)
def create(
    mode: str,
    name: str,
    data_dir: Path,
    catalog_url: str | None,
    scope: KeyScope | None,
    read_only: bool,
    strict_timestamps: bool,
) -> None:
    """Make a key and print it, alone, on stdout; it is never shown again.

    The running server takes it at once. A directory that is not there is made.
    """
    if read_only and scope not in {None, "read"}:
        raise click.UsageError(f"--read-only and --scope {scope} contradict each other")
    scope = "read" if read_only else scope or "admin"
    with catalog_of(data_dir, catalog_url, create=True) as catalog:
        new = catalog.keys.create(
            mode=mode, name=name, scope=scope, strict_timestamps=strict_timestamps
        )
    click.echo(new.token)
    hint(f"{new.key.id} ({name}, {mode}, {scope}); keep it: it is not shown again.")


@keys.command("list")
@data_dir_option
@catalog_option
@click.option("--mode", type=click.Choice(MODES), help="Keys of this mode only.")
@output_option
def list_(data_dir: Path, catalog_url: str | None, mode: str | None, output: Format) -> None:
    """List keys, revoked ones too, without their secrets."""
    with catalog_of(data_dir, catalog_url) as catalog:
        rows = [msgspec.to_builtins(key) for key in catalog.keys.list(mode=mode)]
    emit_rows(output, rows, _COLUMNS, empty="No keys.")


@keys.command()
@click.argument("id")
@data_dir_option
@catalog_option
@output_option
def revoke(id: str, data_dir: Path, catalog_url: str | None, output: Format) -> None:
    """Revoke the key ID; the running server refuses it from the next request on."""
    with catalog_of(data_dir, catalog_url) as catalog:
        key = catalog.keys.revoke(id)
    emit_one(output, msgspec.to_builtins(key), _COLUMNS)
