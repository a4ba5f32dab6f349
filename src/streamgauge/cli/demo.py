"""``streamgauge demo``: real video through a crash onto invoices."""

from __future__ import annotations

from pathlib import Path

import click

from streamgauge.cli.extras import extra


@click.command()
@click.option(
    "--output",
    "-o",
    type=click.Choice(("table", "json")),
    default="table",
    show_default=True,
    help="For people or for machines.",
)
@click.option("--keep", is_flag=True, help="Leave the server and its pages up until Ctrl-C.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where media and data go and stay.  [default: a temporary directory]",
)
def demo(output: str, keep: bool, data_dir: Path | None) -> int:
    """Stream real video through a crash onto invoices.

    Several customers play it, the platform is killed half-way, and every figure is compared:
    received, counted, invoiced. Exits with 1 if one disagrees. Leaves nothing running.
    """
    with extra("demo"):
        from streamgauge.demo import run  # noqa: PLC0415 - the extra may be missing

        return run(output=output, keep=keep, data_dir=data_dir)
