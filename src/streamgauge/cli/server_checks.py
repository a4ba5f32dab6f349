"""Checks of a data directory: its catalog, its lock, and the server on it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Final

from streamgauge.cli.connection import is_answered
from streamgauge.cli.findings import Finding, failed, ok, warning
from streamgauge.cli.transport import over_unix_socket
from streamgauge.core.clock import Clock, SystemClock, utc
from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.server.layout import ADMIN_SOCKET, CATALOG, ELSEWHERE, LOCK

# A clock may be set back by this much; an hour and more is a wrong clock.
_AHEAD_S_MAX: Final = 3_600


def server_findings(data_dir: Path, clock: Clock | None = None) -> Iterator[Finding]:
    """Yield how a data directory stands; a running server is asked, not disturbed."""
    yield _catalog(data_dir / CATALOG)
    yield _files_from_the_future(data_dir, clock or SystemClock())
    path = data_dir / ADMIN_SOCKET
    if is_answered(path):
        yield _readiness(path)
    else:
        yield _lock(data_dir)


def _catalog(path: Path) -> Finding:
    if (elsewhere := path.with_name(ELSEWHERE)).exists():
        return ok(
            "data: catalog", f"in {elsewhere.read_text().strip()}; /readyz says if it answers"
        )
    if not path.exists():
        return ok("data: catalog", "none yet; the first start makes it")
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as database:
            (answer,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return failed("data: catalog", f"{path.name}: {error}")
    if answer != "ok":
        return failed("data: catalog", f"{path.name} is damaged: {answer}")
    return ok("data: catalog", f"{path.name} is sound")


def _files_from_the_future(data_dir: Path, clock: Clock) -> Finding:
    """Return whether the clock went back behind what was written here."""
    now = utc(clock.time_ns()).timestamp()
    newest = max((each.lstat().st_mtime for each in data_dir.iterdir()), default=now)
    if newest > now + _AHEAD_S_MAX:
        ahead = (newest - now) / 3_600
        return failed("data: clock", f"files here are {ahead:.1f} h newer than now; the clock lags")
    return ok("data: clock", "no file here is newer than now")


def _readiness(path: Path) -> Finding:
    try:
        status, body = over_unix_socket(path)("GET", "/readyz", None, {})
        answer = json.loads(body)
    except (UnavailableError, ValueError) as error:
        return failed("server", f"it does not say whether it is ready: {error}")
    said = [*answer.get("trouble", ()), *answer.get("damage", ())]
    if status != HTTPStatus.OK:
        return failed("server", f"runs, not ready: {'; '.join(said)}")
    if said:
        return warning("server", f"runs, with damage set aside: {'; '.join(said)}")
    return ok("server", "runs on this directory, and is ready")


def _lock(data_dir: Path) -> Finding:
    if not (data_dir / LOCK).exists():
        return ok("server", "never ran on this directory")
    try:
        lock = OsDirectory(data_dir).lock(LOCK)
    except (ConfigurationError, OSError) as error:
        return failed("server", f"its lock cannot be tried: {error}")
    if lock is None:
        return failed("server", "a process holds the directory and does not answer")
    lock.release()
    return ok("server", "none runs on this directory")
