from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from streamgauge import Ingestion
from streamgauge.cli.client import Client
from streamgauge.cli.root import run
from streamgauge.core.disk import OsDirectory

KILLED = """
import os, signal, sys
from streamgauge import Ingestion, track_stream_bytes
ingestion = Ingestion(
    environment="test_mode", event_name="spooled", api_key="sg_test_x", base_url=sys.argv[1],
    spool_dir=sys.argv[2], delivery_interval_s=3600,
)
track_stream_bytes(ingestion, customer_id="c", bytes=600)
track_stream_bytes(ingestion, customer_id="c", bytes=400)
session = ingestion.session(customer_id="c", metadata={"quality": "1080p"})
session.add(234)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def left_behind(server: Any, tmp_path: Path) -> Path:
    """Return a spool directory with what a killed process had counted."""
    path = tmp_path / "spools"
    done = subprocess.run([sys.executable, "-c", KILLED, server.url, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    return path


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    assert run([*arguments, "-o", "json"]) == status
    return json.loads(capsys.readouterr().out)


def test_what_a_killed_process_left_is_shown_checked_and_delivered_once(
    server: Any,
    operator: Client,
    left_behind: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = ("--spool-dir", str(left_behind))
    (found,) = json_of(capsys, "spool", "status", *at)
    assert found["state"] == "left behind"
    assert (found["pending_events"], found["pending_bytes"], found["open_bytes"]) == (2, 1000, 234)
    assert found["destination"] == f"{server.url} test_mode"
    (checked,) = json_of(capsys, "spool", "verify", *at)
    assert checked["verdict"] == "whole"
    doctor = {each["check"]: each for each in json_of(capsys, "doctor", *at)}
    assert doctor[f"spool: {found['spool'][:8]}"]["verdict"] == "warning"

    made = operator.post("v1", "keys", body={"name": "drain"})
    monkeypatch.setenv("DODO_PAYMENTS_API_KEY", made["token"])
    for _ in range(2):
        assert run(["spool", "drain", "--mode", "test_mode", "--url", server.url, *at]) == 0
    assert "Delivered 1,234 B (1.23 KB) out of 1 spools." in capsys.readouterr().err
    assert json_of(capsys, "spool", "status", *at) == []
    events = list(operator.items("events", event_name="spooled"))
    assert sum(each["metadata"]["bytes"] for each in events) == 1_234


def test_a_spool_is_not_drained_to_another_destination(
    left_behind: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DODO_PAYMENTS_API_KEY", "sg_test_x")
    at = ("--spool-dir", str(left_behind))
    assert run(["spool", "drain", "--mode", "test_mode", "--url", "http://127.0.0.1:9", *at]) == 0
    printed = capsys.readouterr().err
    assert "its events go to http" in printed
    assert "Delivered 0 B out of 0 spools." in printed
    (found,) = json_of(capsys, "spool", "status", *at)
    assert (found["pending_bytes"], found["open_bytes"]) == (1000, 234)


def test_a_destination_that_refuses_the_key_leaves_everything_kept(
    server: Any, left_behind: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("DODO_PAYMENTS_API_KEY", "sg_test_wrong")
    at = ("--spool-dir", str(left_behind))
    assert run(["spool", "drain", "--mode", "test_mode", "--url", server.url, *at]) == 4
    printed = capsys.readouterr().err
    assert "DODO_PAYMENTS_API_KEY" in printed
    assert "kept on disk" in printed
    assert "sg_test_wrong" not in printed
    assert printed.count("\n") == 1
    (found,) = json_of(capsys, "spool", "status", *at)
    assert found["pending_bytes"] + found["open_bytes"] == 1_234


def test_a_spool_with_a_changed_byte_fails_the_check(
    left_behind: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (segment,) = left_behind.glob("*/journal-*.seg")
    whole = segment.read_bytes()
    # The first of two records: a broken last one is a write that power cut short.
    middle = whole.index(b"spooled")
    segment.write_bytes(whole[:middle] + b"SPOOLED" + whole[middle + 7 :])
    (checked,) = json_of(capsys, "spool", "verify", "--spool-dir", str(left_behind), status=1)
    assert checked["verdict"] == "damaged"


def test_a_spool_directory_that_is_not_there_holds_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--spool-dir", str(tmp_path / "none"))
    for command in ("status", "verify", "dead-letters"):
        assert json_of(capsys, "spool", command, *at) == []
    assert not (tmp_path / "none").exists()


def test_a_spool_directory_open_to_others_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    OsDirectory(tmp_path / "spools", create=True)
    (tmp_path / "spools").chmod(0o755)
    assert run(["spool", "status", "--spool-dir", str(tmp_path / "spools")]) == 2
    assert "must be ours with mode 0700" in capsys.readouterr().err


REFUSED = """
import os, signal, sys
from streamgauge import Ingestion
from streamgauge.sinks.base import BatchRefusedError

class Refusing:
    destination = sys.argv[1] + " test_mode"
    def deliver(self, batch):
        raise BatchRefusedError("400: no such meter")
    def close(self):
        pass

ingestion = Ingestion(
    environment="test_mode", event_name="again", sink=Refusing(), spool_dir=sys.argv[2])
for n in range(3):
    ingestion.track(customer_id="c", bytes=100 + n)
assert ingestion.flush(20)
assert ingestion.stats().refused_bytes == 303
ingestion.close()
"""


def test_refused_events_are_listed_put_back_and_sent_again_once(
    server: Any,
    operator: Client,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spools = tmp_path / "spools"
    subprocess.run([sys.executable, "-c", REFUSED, server.url, str(spools)], check=True)
    at = ("--spool-dir", str(spools))
    listed = json_of(capsys, "spool", "dead-letters", *at)
    assert [each["reason"] for each in listed] == ["400: no such meter"] * 3
    assert run(["spool", "dead-letters", "--put-back", *at]) == 0
    assert "Put back 3 events of 303 B." in capsys.readouterr().err
    assert json_of(capsys, "spool", "dead-letters", *at) == []
    (found,) = json_of(capsys, "spool", "status", *at)
    assert (found["pending_events"], found["pending_bytes"]) == (3, 303)
    (checked,) = json_of(capsys, "spool", "verify", *at)
    assert checked["verdict"] == "whole"
    made = operator.post("v1", "keys", body={"name": "again"})
    monkeypatch.setenv("DODO_PAYMENTS_API_KEY", made["token"])
    assert run(["spool", "drain", "--mode", "test_mode", "--url", server.url, *at]) == 0
    events = list(operator.items("events", event_name="again"))
    assert sorted(each["metadata"]["bytes"] for each in events) == [100, 101, 102]
    assert list(spools.iterdir()) == []


def test_a_spool_that_a_live_process_delivers_is_left_to_it(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("DODO_PAYMENTS_API_KEY", "sg_test_x")
    spools = tmp_path / "spools"
    at = ("--spool-dir", str(spools))
    with Ingestion(
        environment="test_mode",
        event_name="stream",
        base_url=server.url,
        spool_dir=spools,
        delivery_interval_s=0.05,
    ) as ingestion:
        while not ingestion.stats().delivers:
            time.sleep(0.01)
        (found,) = json_of(capsys, "spool", "status", *at)
        assert found["state"] == "live, delivers"
        status = run(["spool", "drain", "--mode", "test_mode", "--url", server.url, *at])
        assert status != 0
        assert f"process {os.getpid()} delivers for this destination" in capsys.readouterr().err
