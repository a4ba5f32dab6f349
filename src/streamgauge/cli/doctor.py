"""``streamgauge doctor``: what is wrong here, before it costs anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from streamgauge.cli.archive_checks import archive_findings
from streamgauge.cli.columns import Column
from streamgauge.cli.data_dir import DATA_DIR_VARIABLE
from streamgauge.cli.disk_checks import directory_findings
from streamgauge.cli.failures import ChecksFailedError
from streamgauge.cli.findings import Finding, Verdict
from streamgauge.cli.host_checks import host_findings
from streamgauge.cli.output import Format, Row, emit_rows, output_option
from streamgauge.cli.progress import waiting
from streamgauge.cli.server_checks import server_findings
from streamgauge.cli.spool_checks import spool_findings
from streamgauge.core.clock import SystemClock

_COLUMNS = (
    Column("verdict", "verdict"),
    Column("check", "check"),
    Column("detail", "detail"),
)
_STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "bold red"}


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar=DATA_DIR_VARIABLE,
    show_envvar=True,
    metavar="DIR",
    help="The server's directory; without it only the machine and the spools are looked at.",
)
@click.option(
    "--spool-dir", type=click.Path(path_type=Path), metavar="DIR", help="Else the SDK's default."
)
@output_option
def doctor(data_dir: Path | None, spool_dir: Path | None, output: Format) -> None:
    """Look for trouble: versions, clock, disks, locks, spools.

    Exits with 1 if something fails. Changes nothing; a running server is left alone.
    """
    with waiting("Looking"):
        found = list(_findings(data_dir, spool_dir))
    emit_rows(output, [msgspec.to_builtins(each) for each in found], _COLUMNS, style=_style)
    if any(each.verdict is Verdict.FAILED for each in found):
        raise ChecksFailedError


def _findings(data_dir: Path | None, spool_dir: Path | None) -> Iterator[Finding]:
    yield from host_findings(SystemClock())
    if data_dir is not None:
        yield from directory_findings(data_dir, "data")
        if data_dir.is_dir():
            yield from server_findings(data_dir)
            yield from archive_findings(data_dir)
    yield from spool_findings(spool_dir)


def _style(row: Row) -> str:
    return _STYLES[Verdict(row["verdict"])]
