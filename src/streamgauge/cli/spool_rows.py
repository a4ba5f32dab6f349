"""Reports of spools as rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from streamgauge.cli.client import Tree
from streamgauge.core.clock import iso, utc
from streamgauge.sdk.inspection import SpoolReport, inspect_spools
from streamgauge.sdk.records import DeadLetter


def reports(spool_dir: Path) -> Iterator[SpoolReport]:
    """Yield a report of every spool; of a directory that is not there, none.

    Raises:
        ConfigurationError: The directory is a link, another user's, or open to others.
    """
    if spool_dir.exists():
        yield from inspect_spools(spool_dir)


def state_of(report: SpoolReport) -> str:
    """Return whether a spool's process lives."""
    if report.destination is None:
        return "no spool"
    if report.delivers:
        return "live, delivers"
    return "live" if report.alive else "left behind"


def status_row(report: SpoolReport) -> Tree:
    """Return what waits in a spool."""
    return {
        "spool": report.name,
        "destination": report.destination and report.destination.address,
        "state": state_of(report),
        "pending_events": report.pending_events,
        "pending_bytes": report.pending_bytes,
        "open_bytes": report.open_bytes,
        "oldest": None if report.oldest_ns is None else iso(utc(report.oldest_ns)),
        "refused_events": len(report.refused),
        "acknowledged_bytes": report.settled.acknowledged_bytes,
        "restamped_bytes": report.settled.restamped_bytes,
        "crossed_bytes": report.settled.crossed_bytes,
        "problems": "; ".join(report.problems),
    }


def verify_row(report: SpoolReport) -> Tree:
    """Return whether a spool is whole."""
    problems = "; ".join(report.problems)
    return {
        "spool": report.name,
        "verdict": "damaged" if problems else "whole",
        "problems": problems,
    }


def refused_row(spool: str, letter: DeadLetter) -> Tree:
    """Return an event that no sink took."""
    return {
        "spool": spool,
        "refused_at": iso(utc(letter.refused_at_ns)),
        "reason": letter.reason,
        "event": json.loads(letter.event.body, parse_float=Decimal),
    }
