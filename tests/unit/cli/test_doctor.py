from __future__ import annotations

import json
import os
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streamgauge.cli.disk_checks import directory_findings, sync_finding
from streamgauge.cli.findings import Finding, Verdict
from streamgauge.cli.host_checks import clock_finding
from streamgauge.cli.root import run
from streamgauge.cli.server_checks import server_findings
from streamgauge.core.clock import to_ns
from streamgauge.core.disk import OsDirectory


class At:
    def __init__(self, at: datetime) -> None:
        self._at = at

    def time_ns(self) -> int:
        return to_ns(self._at)

    def monotonic_ns(self) -> int:
        return 0


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    OsDirectory(path, create=True)
    return path


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {each.check: each for each in findings}


def test_a_sound_machine_passes_and_nothing_is_left_behind(
    private: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spools = tmp_path / "spools"
    arguments = ["doctor", "--data-dir", str(private), "--spool-dir", str(spools), "-o", "json"]
    status = run(arguments)
    found = json.loads(capsys.readouterr().out)
    failures = [each for each in found if each["verdict"] == "failed"]
    assert (status, failures) == (0, [])
    assert {"python", "clock", "data", "data: sync", "server", "spool"} <= {
        each["check"] for each in found
    }
    assert list(private.iterdir()) == []
    assert not spools.exists()


def test_a_failing_check_is_an_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--data-dir", str(tmp_path / "none"), "-o", "csv"]) == 1
    printed = capsys.readouterr()
    assert "failed,data," in printed.out
    assert printed.err == ""


def test_a_directory_open_to_others_fails(private: Path) -> None:
    private.chmod(0o755)
    (finding,) = directory_findings(private, "data")
    assert finding.verdict is Verdict.FAILED
    assert "must be ours with mode 0700" in finding.detail


def test_a_link_in_place_of_a_directory_fails(private: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(private)
    (finding,) = directory_findings(link, "data")
    assert finding.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("median_ns", "verdict"), [(900, Verdict.WARNING), (20_000, Verdict.OK), (10**7, Verdict.OK)]
)
def test_a_sync_faster_than_any_disk_is_not_believed(median_ns: int, verdict: Verdict) -> None:
    assert sync_finding("data", median_ns).verdict is verdict


@pytest.mark.parametrize(
    ("at", "verdict"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), Verdict.FAILED),
        (datetime(2026, 11, 24, tzinfo=UTC), Verdict.OK),
        (datetime(2262, 1, 1, tzinfo=UTC), Verdict.FAILED),
    ],
)
def test_an_implausible_clock_fails(at: datetime, verdict: Verdict) -> None:
    assert clock_finding(At(at)).verdict is verdict


def test_files_newer_than_the_clock_fail(private: Path) -> None:
    (private / "x").touch()
    day_later = time.time() + 86_400
    os.utime(private / "x", (day_later, day_later))
    assert by_check(list(server_findings(private)))["data: clock"].verdict is Verdict.FAILED


def test_a_damaged_catalog_fails(private: Path) -> None:
    path = private / "catalog.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (a)")
        database.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 100)
    database.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4_096] + b"\xff" * 8_192 + whole[12_288:])
    finding = by_check(list(server_findings(private)))["data: catalog"]
    assert finding.verdict is Verdict.FAILED


def test_a_catalog_that_is_none_fails(private: Path) -> None:
    (private / "catalog.sqlite").write_bytes(b"no database at all, but long enough" * 100)
    finding = by_check(list(server_findings(private)))["data: catalog"]
    assert finding.verdict is Verdict.FAILED


def test_a_holder_that_does_not_answer_fails(private: Path) -> None:
    lock = OsDirectory(private).lock("server.lock")
    assert lock is not None
    held = by_check(list(server_findings(private)))["server"]
    lock.release()
    free = by_check(list(server_findings(private)))["server"]
    assert (held.verdict, free.verdict) == (Verdict.FAILED, Verdict.OK)
