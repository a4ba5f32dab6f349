"""The whole table of what was measured against what travelled: ``python -m tests.wire``."""

from __future__ import annotations

import argparse
import itertools
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.wire.bed import Bed
from tests.wire.certificate import write_certificate
from tests.wire.scenarios import SCENARIOS, Case, Outcome, Scenario, run, sums
from tests.wire.server import Server

BILLED_LAYER = "wire"
# Of a viewer who leaves, the error is the link's rate times how late the server notices, and how
# late a busy machine lets it is no figure of ours: such a case has so many trials.
TRIALS_MAX = 3
FAMILIES = (socket.AF_INET, socket.AF_INET6)
# Options of a server, losses of a thousand packets, and what of it cannot be served.
SERVERS: dict[str, tuple[tuple[str, ...], tuple[int, ...], Callable[[Scenario], bool]]] = {
    "uvicorn, h11": ((), (0, 10, 50), lambda _: False),
    "uvicorn, httptools, uvloop": (
        ("--http", "httptools", "--loop", "uvloop"),
        (0, 10),
        lambda _: False,
    ),
    "hypercorn": (("--server", "hypercorn"), (0,), lambda _: False),
    "gunicorn, gthread": (("--server", "gunicorn-gthread"), (0,), lambda one: one.is_websocket),
    "gunicorn, sync": (
        ("--server", "gunicorn-sync"),
        (0,),
        lambda one: one.is_websocket or one.requests > 1,
    ),
}


def main() -> int:
    """Run every case, print a row per connection and layer; return 1 if a bound does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.wire", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument(
        "--super-packets", action="store_true", help="hand whole 64 KiB to the link, as with TSO"
    )
    chosen = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 170)
    faults: list[str] = []
    count = 0
    with tempfile.TemporaryDirectory() as name, Bed(real_packets=not chosen.super_packets) as bed:
        certificate = write_certificate(Path(name) / "server.pem")
        for title, (options, losses, cannot) in SERVERS.items():
            kinds = itertools.product(SCENARIOS, FAMILIES, (False, True), losses)
            cases = [Case(*kind) for kind in kinds if not cannot(kind[0])]
            cases = [case for case in cases if chosen.only in f"{title}: {case}"]
            outcomes = []
            if not cases:
                continue
            with Server(bed.server, certificate, "--layer", BILLED_LAYER, *options) as server:
                for case in cases:
                    console.print(f"[dim]{title}: {case}[/dim]")
                    try:
                        trials = _trials(bed, server, case, Path(name) / "server.pcap")
                    except (TimeoutError, EOFError, ValueError) as error:
                        faults.append(f"{title}: {case}: {error}")
                        continue
                    for outcome in trials[:-1]:
                        console.print(f"[dim]again, since {'; '.join(outcome.faults())}[/dim]")
                    outcomes += trials
                    faults += [f"{title}: {one}" for one in trials[-1].faults()]
            console.print(_table(title, outcomes))
            count += len(cases)
            faults += _sums(console, server, outcomes)
    for fault in faults:
        console.print(f"[red]{fault}[/red]")
    console.print(f"{count} connections, {len(faults)} faults")
    return bool(faults)


def _trials(bed: Bed, server: Server, case: Case, capture_path: Path) -> list[Outcome]:
    """Return what was seen of a case, each time it was acted out; the last time counts."""
    outcomes = [run(bed, server, case, capture_path)]
    while len(outcomes) < TRIALS_MAX and not outcomes[-1].is_complete and outcomes[-1].faults():
        outcomes.append(run(bed, server, case, capture_path))
    return outcomes


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
    columns = ("measured", "how", "captured", "error", "error %", "+= len(chunk)", "its error %")
    for column in columns:
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
        naive: tuple[str, ...] = ()
        if row.layer == "payload":
            naive = (f"{outcome.naive_bytes:,}",)
            if row.captured_bytes:
                naive += (f"{100 * (outcome.naive_bytes / row.captured_bytes - 1):+.2f}",)
        table.add_row(first, row.layer, measured, row.how, captured, error, share, *naive)
        first = ""
    table.add_section()


if __name__ == "__main__":
    sys.exit(main())
