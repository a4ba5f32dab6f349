"""What the demo prints at its end: for people a table, for machines the same as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from streamgauge.demo.compare import CrashCost, Row, Verdict
from streamgauge.demo.held import Limits

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS = {
    Verdict.EXACT: "green",
    Verdict.HELD: "green",
    Verdict.WRONG: "bold red",
}


# Short enough for the table's first column.
_WORDS_IF_CUT = {Verdict.EXACT: "exact, though cut", Verdict.HELD: "cut, within bounds"}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The demo's findings.

    Attributes:
        agrees: Whether all figures do.
        seconds: How long the demo took, encoding included.
        rows: One per customer.
        crash: What the SIGKILL cost.
        limits: The limits that the bounds in ``rows`` are made of.
    """

    agrees: bool
    seconds: float
    rows: tuple[Row, ...]
    crash: CrashCost
    limits: Limits


def table(report: Report) -> Table:
    """Return the comparison, customer by customer; it fits a terminal of 80 columns."""
    made = Table(
        title="Bytes, from the player's end to the invoice",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    made.add_column("customer")
    for title in ("received", "counted", "invoiced", "+=\nlen(chunk)", "charge"):
        made.add_column(title, justify="right")
    for row in report.rows:
        made.add_row(
            Text.assemble((row.customer_id, "bold"), f" {row.does}\n", _verdict(row)),
            f"{row.received:,}",
            _beside(row.counted, row.received),
            f"{row.invoiced:,}",
            _beside(row.naive, row.received, style="red"),
            row.charge.total_text,
        )
    return made


def show(report: Report, console: Console) -> None:
    """Print the findings for people."""
    console.print(table(report))
    for line in cost_of_the_crash(report):
        console.print(line, highlight=False)
    console.print()
    console.print(layers(report))
    console.print(charges(report))
    for line in how_it_knows(report):
        console.print(line, highlight=False)


def layers(report: Report) -> Table:
    """Return what each customer's bytes are on every layer."""
    made = Table(
        title="The same bytes, layer by layer",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    made.add_column("customer", style="bold")
    for title in ("payload", "http", "tls", "wire"):
        made.add_column(title, justify="right")
    made.add_column("on the wire", justify="right")
    for row in report.rows:
        sums = row.layers
        # A killed process says no last word of the layers that only its kernel counts.
        least = "" if sums.is_whole else ">"
        figures = (f"{least}{size:,}" for size in (sums.http, sums.tls, sums.wire))
        share = f"{sums.wire / sums.payload - 1:+.2%}" if sums.is_whole and sums.payload else ""
        made.add_row(row.customer_id, f"{sums.payload:,}", *figures, share)
    return made


def charges(report: Report) -> Table:
    """Return the invoices, line by line."""
    made = Table(
        title="The charges, line by line",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    made.add_column("customer", style="bold")
    made.add_column("line")
    made.add_column("how it comes about")
    for row in report.rows:
        for line in row.charge.lines:
            if line.consumed_bytes:
                made.add_row(row.customer_id, line.title, line.explanation)
    return made


def cost_of_the_crash(report: Report) -> list[str]:
    """Return what the SIGKILL cost."""
    crash = report.crash
    cut = [part for row in report.rows for part in row.held if part.received_at_death is not None]
    whole = sum(1 for part in cut if part.bytes_max == 0)
    return [
        (
            f"[bold]The SIGKILL cost {crash.lost_bytes:,} counted bytes lost, "
            f"{crash.doubled_bytes:,} billed twice.[/bold]"
        ),
        (
            f"It found {len(cut)} responses on their way. The kernel delivered {whole} of them "
            "whole after the process was dead, and of the others all that it had been given."
        ),
        (
            f"{crash.ledger.recovered_bytes:,} bytes were left in the dead process's tally and "
            "spool; its successor found and delivered them."
        ),
    ]


def how_it_knows(report: Report) -> list[str]:
    """Return how the demo knows its figures."""
    crash, limits = report.crash, report.limits
    return [
        (
            "The column += len(chunk) is what an application would have billed that adds up its "
            "chunks and notes the sum when a response ends."
        ),
        (
            "How the demo knows: every player has a relay of its own, which parses what arrives on "
            "its sockets and asks no meter."
        ),
        (
            "Where a connection was cut, the dead process may have held at most "
            f"{limits.process_bytes:,} bytes of a response: its write buffer "
            f"({limits.write_buffer_bytes:,}), the chunk that overfilled it and one that waited "
            f"({limits.chunk_bytes:,} each)."
        ),
        (
            "Who hangs up pays for what reached its machine, as the platform's kernel has it "
            f"acknowledged: {_unread(report)}. {crash.taken_back_bytes:,} bytes were handed over "
            "for it, never arrived and were taken back."
        ),
        (
            f"The {crash.events:,} usage events carry numbers without gaps and "
            f"{crash.repeated_event_ids} repeated ids. A witness behind the meter saw "
            f"{crash.witnessed_bytes:,} bytes pass, those taken back included; the events add up "
            f"to {crash.billed_bytes:,}."
        ),
        "",
        _conclusion(report),
    ]


def _unread(report: Report) -> str:
    left = [row for row in report.rows if row.left_early]
    read = sum(row.received - row.unread for row in left)
    return f"{read:,} bytes read, {sum(row.unread for row in left):,} left in its receive buffer"


def _conclusion(report: Report) -> str:
    if report.agrees:
        return f"[green]All figures agree.[/green] {report.seconds:.0f} s in all."
    wrong = [row.customer_id for row in report.rows if not row.agrees]
    where = ", ".join(wrong) or "the account of the crash"
    return f"[bold red]The figures contradict each other: {where}.[/bold red]"


def _verdict(row: Row) -> tuple[str, str]:
    words = row.verdict.value
    if row.disturbed:
        words = _WORDS_IF_CUT.get(row.verdict, words)
    return words, _COLOURS[row.verdict]


def _beside(figure: int, received: int, *, style: str = "dim") -> Text:
    more = figure - received
    return Text.assemble(f"{figure:,}", ("" if more == 0 else f"\n{more:+,}", style))
