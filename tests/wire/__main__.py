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
from tests.wire.server import LAYERS, Server

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
    chosen = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    table = Table(title="measured against captured, bytes sent by the server")
    for column in ("server", "connection"):
        table.add_column(column)
    for column in ("layer", "measured", "how", "captured", "error", "error %"):
        table.add_column(column, justify="left" if column in ("layer", "how") else "right")
    outcomes: list[Outcome] = []
    for options, outcome in _outcomes(chosen.only, real_packets=not chosen.super_packets):
        outcomes.append(outcome)
        console.print(f"[dim]{' '.join(options[1::2])}: {outcome.case}[/dim]")
        _add(table, options, outcome)
    console.print(table)
    faults = [fault for outcome in outcomes for fault in outcome.faults()]
    for layer in LAYERS:
        customers, connections = sums(outcomes, layer)
        by_customer, by_connection = sum(customers.values()), sum(connections.values())
        console.print(
            f"{layer}: {len(customers)} customers {by_customer:,}, "
            f"{len(connections)} connections {by_connection:,}"
        )
        if by_customer != by_connection:
            faults.append(f"{layer}: customers {by_customer}, connections {by_connection}")
    for fault in faults:
        console.print(f"[red]{fault}[/red]")
    console.print(f"{len(outcomes)} connections, {len(faults)} faults")
    return bool(faults)


def _outcomes(only: str, *, real_packets: bool) -> Iterator[tuple[tuple[str, ...], Outcome]]:
    cases = [
        case
        for loss, family, is_tls, scenario in itertools.product(
            LOSSES_PER_MILLE, FAMILIES, (False, True), SCENARIOS
        )
        if only in str(case := Case(scenario, family, is_tls, loss))
    ]
    with tempfile.TemporaryDirectory() as name, Bed(real_packets=real_packets) as bed:
        directory = Path(name)
        certificate = write_certificate(directory / "server.pem")
        for options in SERVERS:
            with Server(bed.server, certificate, *options) as server:
                for case in cases:
                    yield options, run(bed, server, case, directory / "server.pcap")


def _add(table: Table, options: tuple[str, ...], outcome: Outcome) -> None:
    first = (" ".join(options[1::2]), str(outcome.case))
    for row in outcome.rows():
        captured, error, share = "?", "", ""
        if row.captured_bytes is not None and row.error_bytes is not None:
            captured, error = f"{row.captured_bytes:,}", f"{row.error_bytes:+,}"
            share = f"{100 * row.error_bytes / row.captured_bytes:+.4f}"
        measured = f"{row.measured_bytes:,}"
        table.add_row(*first, row.layer, measured, row.how, captured, error, share)
        first = ("", "")
    table.add_section()


if __name__ == "__main__":
    sys.exit(main())
