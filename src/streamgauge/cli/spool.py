"""``streamgauge spool``: what the SDK counted and has not delivered, on this machine's disk."""

from __future__ import annotations

from pathlib import Path

import click

from streamgauge.cli.columns import Column, Kind
from streamgauge.cli.failures import ChecksFailedError
from streamgauge.cli.output import Format, emit_rows, hint, output_option, quantity
from streamgauge.cli.progress import waiting
from streamgauge.cli.spool_delivery import deliver
from streamgauge.cli.spool_rows import refused_row, reports, status_row, verify_row
from streamgauge.core.clock import SystemClock
from streamgauge.core.events import MODES
from streamgauge.sdk.requeue import requeue_letters
from streamgauge.sdk.spooldir import SPOOL_DIR_VARIABLE, default_spool_dir
from streamgauge.sinks.late import LatePolicy

_STATUS_COLUMNS = (
    Column("spool", "spool"),
    Column("destination", "to"),
    Column("state", "state"),
    Column("pending_events", "events waiting", Kind.FIGURE),
    Column("pending_bytes", "bytes waiting", Kind.FIGURE),
    Column("open_bytes", "bytes in no event yet", Kind.FIGURE),
    Column("oldest", "oldest", Kind.INSTANT),
    Column("refused_events", "refused", Kind.FIGURE),
    Column("problems", "problems"),
)
_VERIFY_COLUMNS = (
    Column("spool", "spool"),
    Column("verdict", "verdict"),
    Column("problems", "problems"),
)
_REFUSED_COLUMNS = (
    Column("refused_at", "refused at", Kind.INSTANT),
    Column("reason", "reason"),
    Column("event.customer_id", "customer"),
    Column("event.event_name", "event name"),
    Column("event.metadata", "metadata"),
    Column("event.event_id", "event id"),
)
_spool_dir_option = click.option(
    "--spool-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=f"Else {SPOOL_DIR_VARIABLE}, else streamgauge/spool in the user's XDG state.",
)


@click.group()
def spool() -> None:
    """The SDK's spools on this machine: look, check, deliver what a dead process left."""


@spool.command()
@_spool_dir_option
@output_option
def status(spool_dir: Path | None, output: Format) -> None:
    """Show what waits in every spool; changes nothing, live ones included."""
    with waiting("Reading spools"):
        rows = [status_row(each) for each in reports(spool_dir or default_spool_dir())]
    empty = f"No spools in {spool_dir or default_spool_dir()}: nothing waits."
    emit_rows(output, rows, _STATUS_COLUMNS, empty=empty)


@spool.command()
@_spool_dir_option
@output_option
def verify(spool_dir: Path | None, output: Format) -> None:
    """Check that every spool is whole and bills nothing twice; exits with 1 if one is not."""
    with waiting("Checking spools"):
        rows = [verify_row(each) for each in reports(spool_dir or default_spool_dir())]
    emit_rows(output, rows, _VERIFY_COLUMNS, empty="No spools.")
    if any(row["problems"] for row in rows):
        raise ChecksFailedError


@spool.command("dead-letters")
@click.option("--put-back", is_flag=True, help="Let them wait again, where their process is gone.")
@_spool_dir_option
@output_option
def dead_letters(spool_dir: Path | None, output: Format, *, put_back: bool) -> None:
    """List events that were refused or held aside, with the reason, or let them be sent again.

    Put back are the events of spools whose process is gone, under the same ids: the next Ingestion
    of their destination sends them, or spool drain. Mend first what they were refused for.
    """
    path = spool_dir or default_spool_dir()
    if put_back:
        _put_back(path)
        return
    with waiting("Reading spools"):
        rows = [refused_row(each.name, letter) for each in reports(path) for letter in each.refused]
    emit_rows(output, rows, _REFUSED_COLUMNS, empty="No refused events.")


@spool.command()
@click.option("--mode", type=click.Choice(MODES), required=True, help="Of the Ingestion.")
@click.option("--url", metavar="URL", help="The Ingestion's base_url.  [default: Dodo Payments]")
@click.option(
    "--account", metavar="NAME", default="", help="The Ingestion's account, if it has one."
)
@click.option(
    "--late",
    type=click.Choice([policy.value for policy in LatePolicy]),
    help="The Ingestion's late.  [default: restamp, towards Dodo Payments]",
)
@_spool_dir_option
def drain(
    mode: str, url: str | None, account: str, late: str | None, spool_dir: Path | None
) -> None:
    """Deliver what dead processes left for one destination, each event once.

    The destination is named as in Ingestion, and the key comes from DODO_PAYMENTS_API_KEY: a
    spool is delivered to where it belongs, and a key goes only where you send it. Spools of live
    processes are left to them.
    """
    path = spool_dir or default_spool_dir()
    found = deliver(path, mode=mode, url=url, account=account, late=late, clock=SystemClock())
    delivered = quantity(found.acknowledged_bytes, "byte")
    hint(f"Delivered {delivered} out of {found.spools:,} spools.")
    if found.refused_bytes:
        hint(f"{quantity(found.refused_bytes, 'byte')} were refused; spool dead-letters says why.")


def _put_back(path: Path) -> None:
    if not path.exists():
        hint(f"No spools in {path}: nothing was refused.")
        return
    put = requeue_letters(path)
    hint(f"Put back {put.events:,} events of {quantity(put.bytes, 'byte')}.")
    if put.alive:
        hint(f"Left {len(put.alive)} spools as they are: stop the processes that use them first.")
    for problem in put.problems:
        hint(problem)
    if put.problems:
        raise ChecksFailedError
