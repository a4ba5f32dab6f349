from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from streamgauge.demo.compare import (
    Charge,
    ChargeLine,
    CrashCost,
    LayerSums,
    Ledger,
    Row,
    Verdict,
    Writer,
)
from streamgauge.demo.held import Held, Limits
from streamgauge.demo.relay import Ending
from streamgauge.demo.report import Report, show

LIMITS = Limits(write_buffer_bytes=65_536, chunk_bytes=65_536, send_buffer_bytes=4_194_304)
HELD = Held(
    target="/film",
    declared=6_000_000,
    received=2_000_000,
    received_at_death=1_000_000,
    ending=Ending.FINISHED,
    process_bytes_max=196_608,
    kernels_bytes_max=0,
    bytes_max=196_608,
)


def row(
    customer_id: str,
    does: str,
    verdict: Verdict,
    *,
    more: int = 0,
    naive: int = 0,
    left_early: bool = False,
) -> Row:
    received = 11_892_779
    counted = received + more
    line = ChargeLine(title="720p", consumed_bytes=counted, amount=117, explanation="this and that")
    unused = ChargeLine(title="480p", consumed_bytes=0, amount=0, explanation="nothing at all")
    cut = verdict is Verdict.HELD
    return Row(
        customer_id=customer_id,
        does=does,
        received=received,
        unread=1_000 if left_early else 0,
        counted=counted,
        invoiced=counted,
        naive=received + naive,
        disturbed=cut,
        left_early=left_early,
        held=(HELD,) if cut else (),
        held_bytes_max=196_608 if cut else 0,
        charge=Charge(currency="USD", total=117, total_text="1.17 USD", lines=(line, unused)),
        layers=LayerSums(
            payload=counted,
            http=counted + 300,
            tls=counted + 300,
            wire=counted + 9_000,
            arrived=counted + 300,
            is_whole=not cut,
        ),
        verdict=verdict,
        agrees=verdict is not Verdict.WRONG,
    )


@pytest.fixture
def report() -> Report:
    rows = (
        row("ana", "watches 720p", Verdict.EXACT),
        row("eva", "fetches ranges", Verdict.HELD, more=186_533, naive=-3_942_235),
        row("finn", "hangs up", Verdict.EXACT, naive=3_040_827, left_early=True),
    )
    crash = CrashCost(
        lost_bytes=0,
        doubled_bytes=0,
        witnessed_bytes=3_040_926,
        taken_back_bytes=3_040_827,
        billed_bytes=99,
        events=70,
        repeated_event_ids=0,
        writers=(Writer(writer_id="0" * 32, events=70, missing=0),),
        ledger=Ledger(holds=True, recovered_bytes=4_467_384, unsettled_bytes=0),
    )
    return Report(agrees=True, seconds=35.9, rows=rows, crash=crash, limits=LIMITS)


def printed(report: Report, width: int = 80) -> list[str]:
    out = io.StringIO()
    show(report, Console(file=out, width=width))
    return [line.strip() for line in out.getvalue().splitlines()]


def test_every_figure_fits_a_terminal_of_80_columns(report: Report) -> None:
    lines = printed(report)
    assert all(len(line) <= 80 for line in lines)
    (ana,) = [line for line in lines if line.startswith("ana watches 720p")]
    assert ana.split()[3:] == [*["11,892,779"] * 4, "1.17", "USD"]
    (gaps,) = [line for line in lines if line.startswith("cut, within bounds")]
    assert gaps.split()[3:] == ["+186,533", "-3,942,235"]


def test_who_hangs_up_is_exact_beside_what_naive_code_would_bill(report: Report) -> None:
    lines = printed(report)
    (finn,) = [at for at, line in enumerate(lines) if line.startswith("finn hangs up")]
    assert lines[finn + 1].split() == ["exact", "+3,040,827"]
    text = " ".join(printed(report, width=2_000))
    assert "11,891,779 bytes read, 1,000 left in its receive buffer" in text
    assert "3,040,827 bytes were handed over for it, never arrived and were taken back" in text


def test_every_layer_is_printed_and_marked_where_a_kill_cut_it_short(report: Report) -> None:
    lines = printed(report)
    ana = next(line for line in lines if line.startswith("ana ") and "watches" not in line)
    assert ana.split()[1:] == [
        *("11,892,779", "11,893,079", "11,893,079", "11,901,779"),
        "+0.08%",
    ]
    eva = next(line for line in lines if line.startswith("eva ") and "fetches" not in line)
    assert eva.split()[2].startswith(">")


@pytest.mark.parametrize("width", [80, 120])
def test_the_cost_of_the_crash_stands_right_beneath_the_table(report: Report, width: int) -> None:
    lines = [line for line in printed(report, width) if line]
    (last_row,) = [at for at, line in enumerate(lines) if line.startswith("finn hangs up")]
    assert lines[last_row + 2] == "The SIGKILL cost 0 counted bytes lost, 0 billed twice."
    assert lines.index("The charges, line by line") > last_row + 2


def test_the_cost_of_the_crash_and_the_reasons_to_believe_it_are_told(report: Report) -> None:
    text = " ".join(printed(report, width=2_000))
    assert "0 counted bytes lost, 0 billed twice" in text
    assert "It found 1 responses on their way. The kernel delivered 0 of them whole" in text
    assert "All figures agree" in text


def test_a_contradiction_names_the_customer(report: Report) -> None:
    wrong = row("ben", "watches 480p", Verdict.WRONG)
    contradicted = msgspec.structs.replace(report, agrees=False, rows=(*report.rows, wrong))
    assert "contradict each other: ben" in " ".join(printed(contradicted))


def test_lines_without_usage_are_left_out(report: Report) -> None:
    text = " ".join(printed(report))
    assert "this and that" in text
    assert "nothing at all" not in text


def test_machines_get_the_same_figures(report: Report) -> None:
    again = msgspec.json.decode(msgspec.json.encode(report), type=Report)
    assert again == report
