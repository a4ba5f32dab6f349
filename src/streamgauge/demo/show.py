"""The demo from its first frame to its last figure."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from streamgauge.core.errors import InvalidInputError, StreamgaugeError
from streamgauge.demo.act import Act, Findings
from streamgauge.demo.billing import Billing
from streamgauge.demo.compare import compare, crash_cost
from streamgauge.demo.held import read_limits
from streamgauge.demo.hosting import Host
from streamgauge.demo.media import encode
from streamgauge.demo.players import Show
from streamgauge.demo.processes import Processes
from streamgauge.demo.report import Report, show
from streamgauge.demo.server import BillingServer, open_server
from streamgauge.demo.stage import Stage

MEDIA_S: Final = 30
LISTENING_S: Final = 24
OUTPUTS: Final = ("table", "json")
_FAILED: Final = 1
_INTERRUPTED: Final = 130
_LOG_LINES_SHOWN: Final = 15


def perform(*, output: str, keep: bool, data_dir: Path | None) -> int:
    """Run the demo as ``streamgauge.demo.run`` says."""
    if output not in OUTPUTS:
        raise InvalidInputError("output", output, f"be one of {', '.join(OUTPUTS)}")
    progress = Console(stderr=True)
    try:
        with _folder(data_dir) as folder:
            return asyncio.run(_run(folder, progress, output=output, keep=keep))
    except (KeyboardInterrupt, asyncio.CancelledError):
        progress.print("Interrupted; nothing is left running.")
        return _INTERRUPTED


@contextlib.contextmanager
def _folder(data_dir: Path | None) -> Iterator[Path]:
    if data_dir is not None:
        data_dir.mkdir(parents=True, exist_ok=True)
        yield data_dir.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="streamgauge-demo-") as folder:
        yield Path(folder)


async def _run(folder: Path, progress: Console, *, output: str, keep: bool) -> int:
    main = asyncio.current_task()
    assert main is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main.cancel)
    # Figures are compared within one performance, so each has billing data of its own.
    place = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
    report: Report | None = None
    try:
        async with Processes() as processes:
            with Stage(progress) as stage:
                server, report = await _play(folder, place, processes, stage)
            _print(report, output)
            if keep:
                await _stay(server, progress)
    except* StreamgaugeError as failures:
        for failure in _flat(failures):
            progress.print(f"[bold red]The demo failed:[/bold red] {failure}", highlight=False)
        _print_logs(place, progress)
    return 0 if report is not None and report.agrees else _FAILED


async def _play(
    folder: Path, place: Path, processes: Processes, stage: Stage
) -> tuple[BillingServer, Report]:
    stage.step(f"ffmpeg encodes {MEDIA_S} s of video at three qualities, sound and a film")
    async with asyncio.TaskGroup() as group:
        encoding = group.create_task(encode(folder / "media", seconds=MEDIA_S))
        opening = group.create_task(open_server(place, processes))
    media, server = encoding.result(), opening.result()
    billing = Billing(server.api)
    await billing.set_up()
    stage.step("The billing server is up: a meter for each quality, a price per GB")
    host = Host(
        processes,
        folder=place,
        media=media.folder,
        billing_url=server.api.url,
        key=server.key,
    )
    with contextlib.closing(host):
        players = Show(media=media, processes=processes, logs=place, seconds=LISTENING_S)
        findings = await Act(host, players, stage, billing.usage).perform()
    stage.step("The invoices are previewed and compared")
    return server, await _report(findings, billing, stage)


async def _report(findings: Findings, billing: Billing, stage: Stage) -> Report:
    limits = read_limits()
    events = await billing.events()
    rows = tuple(
        [
            compare(
                viewer,
                relay,
                events=events,
                charge=await billing.charge(viewer.customer_id),
                naive=findings.naive.get(viewer.customer_id, 0),
                limits=limits,
            )
            for viewer, relay in findings.players
        ]
    )
    crash = crash_cost(
        events, rows, witnessed=findings.witnessed, ledger=findings.ledger, limits=limits
    )
    return Report(
        agrees=crash.agrees and all(row.agrees for row in rows),
        seconds=round(stage.seconds, 1),
        rows=rows,
        crash=crash,
        limits=limits,
    )


def _print(report: Report, output: str) -> None:
    if output == "json":
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
        sys.stdout.flush()
    else:
        show(report, Console())


async def _stay(server: BillingServer, progress: Console) -> None:
    progress.print(
        f"The billing server stays up with these data: {await server.sign_in_url()}\n"
        f"API: {server.api.url}   key: {server.key}\n"
        "Press Ctrl-C to stop it.",
        highlight=False,
        # A link broken over two lines cannot be clicked.
        soft_wrap=True,
    )
    # Ctrl-C is how this ends well, so the cancellation stops here.
    with contextlib.suppress(asyncio.CancelledError):
        await server.process.wait()
    if (task := asyncio.current_task()) is not None:
        task.uncancel()


def _flat(failures: BaseExceptionGroup[StreamgaugeError]) -> Iterator[StreamgaugeError]:
    for failure in failures.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            yield from _flat(failure)
        else:
            yield failure


def _print_logs(place: Path, progress: Console) -> None:
    for log in sorted(place.glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
        if lines:
            progress.print(f"-- {log.name}", style="dim")
            progress.print("\n".join(lines), style="dim", markup=False, highlight=False)
