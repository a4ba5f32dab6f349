"""Checks of the machine: versions, clock, limits of the process."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from streamgauge._version import __version__
from streamgauge.cli.findings import Finding, failed, ok, warning
from streamgauge.core.clock import Clock, iso, utc

_PYTHON_OLDEST: Final = (3, 11)
# ALTER TABLE DROP COLUMN and the JSON functions of our migrations.
_SQLITE_OLDEST: Final = (3, 35, 0)
_PACKAGES: Final = {
    "msgspec": "",
    "urllib3": "",
    "click": "cli",
    "rich": "cli",
    "chdb": "server",
    "clickhouse-connect": "server",
    "sqlalchemy": "server",
    "starlette": "server",
    "uvicorn": "server",
}
# A clock before this release's year has lost its battery, or its network.
_CLOCK_EARLIEST: Final = datetime(2026, 1, 1, tzinfo=UTC)
_CLOCK_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
# A connection per player, and some two hundred files of the engine.
_FILES_FEW: Final = 4_096


def host_findings(clock: Clock) -> Iterator[Finding]:
    """Yield what the machine looks like."""
    yield _python()
    yield from _packages()
    yield _sqlite()
    yield clock_finding(clock)
    yield _open_files()


def clock_finding(clock: Clock) -> Finding:
    """Return whether the clock tells a plausible time; events bear it, invoices follow it."""
    now = utc(clock.time_ns())
    if _CLOCK_EARLIEST <= now < _CLOCK_LATEST:
        return ok("clock", iso(now.replace(microsecond=0)))
    return failed("clock", f"it says {iso(now)}; events would be billed to the wrong month")


def _python() -> Finding:
    version = platform.python_version()
    text = f"{platform.python_implementation()} {version} on {platform.machine()}"
    if sys.version_info < _PYTHON_OLDEST:
        return failed("python", f"{text}; 3.11 or newer is needed")
    if not sys.platform.startswith("linux"):
        return warning("python", f"{text}, {sys.platform}; only Linux is tested")
    return ok("python", text)


def _packages() -> Iterator[Finding]:
    yield ok("streamgauge", __version__)
    missing: dict[str, list[str]] = {}
    for name, extra in _PACKAGES.items():
        try:
            yield ok(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            missing.setdefault(extra, []).append(name)
    for extra, names in missing.items():
        yield warning(
            ", ".join(names), f"not installed; pip install 'streamgauge[{extra}]' brings it"
        )


def _sqlite() -> Finding:
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < _SQLITE_OLDEST:
        return failed("sqlite", f"{version}; 3.35 or newer is needed")
    return ok("sqlite", version)


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FILES_FEW:
        return warning(
            "open files", f"at most {soft} (ulimit -n, up to {hard}); many clients need more"
        )
    return ok("open files", "unlimited" if soft == resource.RLIM_INFINITY else f"at most {soft}")
