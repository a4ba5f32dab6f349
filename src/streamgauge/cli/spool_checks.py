"""Checks of the SDK's spool directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from streamgauge.cli.disk_checks import directory_findings
from streamgauge.cli.findings import Finding, Verdict, failed, ok, warning
from streamgauge.core.units import format_bytes
from streamgauge.sdk.inspection import SpoolReport, inspect_spools
from streamgauge.sdk.spooldir import default_spool_dir


def spool_findings(spool_dir: Path | None) -> Iterator[Finding]:
    """Yield how the spool directory stands, and what waits in it."""
    path = spool_dir or default_spool_dir()
    if not path.exists():
        yield ok("spool", f"{path} is not there yet; the first Ingestion makes it")
        return
    looked = list(directory_findings(path, "spool"))
    yield from looked
    if looked[0].verdict is Verdict.OK:
        yield from (report_finding(report) for report in inspect_spools(path))


def report_finding(report: SpoolReport) -> Finding:
    """Return how one spool stands."""
    check = f"spool: {report.name[:8]}"
    if report.problems:
        return failed(check, f"{report.problems[0]} (streamgauge spool verify says all)")
    waits = (
        f"{report.pending_events:,} events and {format_bytes(report.open_bytes)} in no event yet"
    )
    if not report.alive and (report.pending_events or report.open_bytes):
        return warning(
            check,
            f"its process is gone, {waits} wait; the next Ingestion of the same destination "
            "delivers them, or streamgauge spool drain",
        )
    if report.refused:
        return warning(
            check, f"{len(report.refused):,} events were refused; streamgauge spool dead-letters"
        )
    return ok(check, f"{'live' if report.alive else 'left behind'}, {waits} wait")
