"""The whole table of what was measured against what travelled: ``python -m tests.wire``."""

from __future__ import annotations

import argparse
import itertools
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.wire.bed import Bed
from tests.wire.certificate import write_certificate
from tests.wire.scenarios import SCENARIOS, Case, Outcome, run, sums
from tests.wire.server import Server

BILLED_LAYER = "wire"
LOSSES_PER_MILLE = (0, 10, 50)
FAMILIES = (socket.AF_INET, socket.AF_INET6)
# One row of options per server process.
SERVERS = (("--http", "h11", "--loop", "asyncio"), ("--http", "httptools", "--loop", "uvloop"))


def main() -> int:
    """Run every case, print a row per connection and layer; return 1 if a bound does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.wire", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument(
        "--super-packets", action="store_true", help="hand whole 64 KiB to the link, as with TSO"
    )
    parser.add_argument("--reader", choices=("product", "reference"), default="product")
    chosen = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    kinds = itertools.product(SCENARIOS, FAMILIES, (False, True), LOSSES_PER_MILLE)
    cases = [case for kind in kinds if chosen.only in str(case := Case(*kind))]
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name, Bed(real_packets=not chosen.super_packets) as bed:
        certificate = write_certificate(Path(name) / "server.pem")
        for options in SERVERS:
            arguments = ("--reader", chosen.reader, "--layer", BILLED_LAYER, *options)
            outcomes = []
            with Server(bed.server, certificate, *arguments) as server:
                for case in cases:
                    console.print(f"[dim]{case}[/dim]")
                    outcomes.append(run(bed, server, case, Path(name) / "server.pcap"))
            console.print(_table(f"read by the {chosen.reader}, uvicorn {options[1::2]}", outcomes))
            faults += [fault for outcome in outcomes for fault in outcome.faults()]
            if chosen.reader == "product":
                faults += _sums(console, server, outcomes)
    for fault in faults:
        console.print(f"[red]{fault}[/red]")
    console.print(f"{len(SERVERS) * len(cases)} connections, {len(faults)} faults")
    return bool(faults)


def _sums(console: Console, server: Server, outcomes: list[Outcome]) -> Iterator[str]:
    """Print what customers were billed beside what connections carried; yield what is wrong."""
    measured, _ = sums(outcomes, BILLED_LAYER)
    nobodys = measured.pop(None, 0)
    captured = sum(
        row.captured_bytes or 0
        for outcome in outcomes
        for row in outcome.rows()
        if row.layer == BILLED_LAYER
    )
    for customer_id, size in sorted(server.billed.items()):
        console.print(f"billed to {customer_id}: {size:,}")
    billed = server.billed.total()
    console.print(f"billed in all {billed:,}, nobody's {nobodys:,}")
    console.print(f"on all connections {captured:,}, error {billed + nobodys - captured:+,}")
    if server.billed != measured:
        yield f"billed {dict(server.billed)}, measured {dict(measured)}"


def _table(title: str, outcomes: list[Outcome]) -> Table:
    table = Table("connection", "layer", title=title)
    for column in ("measured", "how", "captured", "error", "error %"):
        table.add_column(column, justify="left" if column == "how" else "right")
    for outcome in outcomes:
        _add(table, outcome)
    return table


def _add(table: Table, outcome: Outcome) -> None:
    first = str(outcome.case)
    for row in outcome.rows():
        captured, error, share = "?", "", ""
        if row.captured_bytes is not None and row.error_bytes is not None:
            captured, error = f"{row.captured_bytes:,}", f"{row.error_bytes:+,}"
            share = f"{100 * row.error_bytes / row.captured_bytes:+.4f}"
        measured = f"{row.measured_bytes:,}"
        table.add_row(first, row.layer, measured, row.how, captured, error, share)
        first = ""
    table.add_section()


if __name__ == "__main__":
    sys.exit(main())
