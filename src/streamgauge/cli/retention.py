"""``streamgauge retention``: what of the raw events is archived."""

from __future__ import annotations

from pathlib import Path

import click

from streamgauge.cli.client import Client
from streamgauge.cli.columns import Column, Kind
from streamgauge.cli.connection import operator_exchange
from streamgauge.cli.data_dir import data_dir_option
from streamgauge.cli.output import Format, emit_one, emit_rows, output_option
from streamgauge.cli.progress import waiting

_STATE = (
    Column("keep_events_days", "days kept"),
    Column("before", "archived before", Kind.INSTANT),
    Column("events", "events"),
    Column("size", "bytes", Kind.QUANTITY),
    Column("files", "files"),
    Column("missing", "missing"),
    Column("run_at", "last looked", Kind.INSTANT),
    Column("trouble", "trouble"),
)
_MONTHS = (
    Column("month", "month"),
    Column("events", "events", Kind.FIGURE),
    Column("bytes", "bytes", Kind.FIGURE),
    Column("files", "files", Kind.FIGURE),
)


@click.command()
@data_dir_option
@output_option
def retention(data_dir: Path, output: Format) -> None:
    """Show which raw events are archived, by month.

    With `streamgauge serve --keep-events-days N` a server moves raw events that are older from its
    engine into Parquet files, in `archive` of its directory. CSV has the months alone.
    """
    with operator_exchange(data_dir) as exchange, waiting("Asking"):
        client = Client(exchange, address=f"the server on {data_dir}", headers={})
        state = client.get("v1", "retention")
    if output is Format.JSON:
        emit_one(output, state, _STATE)
        return
    if output is Format.TABLE:
        shown = {**state, "size": state["bytes"], "measurement_unit": "bytes"}
        emit_one(output, shown | {"missing": ", ".join(state["missing"])}, _STATE)
    emit_rows(output, state["months"], _MONTHS, empty="No event is archived.")
