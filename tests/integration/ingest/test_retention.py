"""Retention of a real server: it answers as before, with old events in files."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamgauge.cli.archive_checks import archive_findings
from streamgauge.cli.findings import Verdict
from streamgauge.cli.root import run
from streamgauge.core.errors import CorruptError
from streamgauge.core.limits import RETAINED_SEGMENTS_MAX
from streamgauge.server.backup import copying, manifest

MAIN = "import sys; from streamgauge.cli import main; sys.exit(main())"
NOW = datetime.now(UTC).replace(microsecond=0)
OLD, OLDER = NOW - timedelta(days=80), NOW - timedelta(days=120)
WINDOW = {
    "start": f"{OLDER - timedelta(days=40):%Y-%m-01T00:00:00Z}",
    "end": f"{NOW + timedelta(days=1):%Y-%m-%dT00:00:00Z}",
}


def plan(name: str, kind: str = "sum", **changes: Any) -> dict[str, Any]:
    aggregation = {"type": kind, "key": "bytes"}
    meter = {"name": name, "event_name": "stream", "measurement_unit": "byte"}
    price = {"currency": "USD", "price_per_unit": "5", "price_unit": "GB"}
    return {"meter": {**meter, "aggregation": aggregation, **changes}, **price}


def used(id: str, at: datetime, customer: str = "cus_1", **metadata: Any) -> dict[str, Any]:
    return {
        "event_id": id,
        "customer_id": customer,
        "event_name": "stream",
        "timestamp": at.isoformat(),
        "metadata": {"bytes": 10**20 + len(id), "quality": "hd", **metadata},
    }


def send(client: httpx.Client, *events: dict[str, Any]) -> list[str]:
    answer = client.post("/events/ingest", json={"events": events}).raise_for_status()
    return [each["result"] for each in answer.json()["results"]]


def answers(client: httpx.Client) -> Any:
    """Return what reads raw events, and what reads rollups."""

    def get(path: str, **query: Any) -> Any:
        return client.get(path, params=query).raise_for_status().json()

    (invoice,) = get("/v1/invoices", customer_id="cus_1")["items"]
    path = f"/v1/invoices/{invoice['id']}"
    told = [get("/events", page_size=100), get("/events", customer_id="cus_2")]
    told += [get("/events", start=WINDOW["start"], end=OLD.isoformat()), get("/events/old-1")]
    told += [get(path), get(f"{path}/lines/1/events"), get(f"{path}/lines/1/events", late=True)]
    for meter in get("/meters")["items"]:
        for grouped in ("customer_id", "quality", "address"):
            told.append(get("/v1/usage", meter_id=meter["id"], group_by=grouped, **WINDOW))
    return told


def retention(server: Any) -> Any:
    """Return what the server says of retention, once it has looked."""
    end = time.monotonic() + 30
    with server.operator() as operator:
        while (state := operator.get("/v1/retention").raise_for_status().json())["run_at"] is None:
            assert time.monotonic() < end
            time.sleep(0.05)
    return state


@pytest.fixture
def archived(tmp_path: Path, server_type: Any) -> Iterator[dict[str, Any]]:
    """A server that has archived, and its answers from before."""
    server = server_type(tmp_path / "data").start()
    with server.client() as client:
        for name, kind in (("all", "sum"), ("largest", "max")):
            client.post("/v1/plans", json=plan(name, kind)).raise_for_status()
        send(client, *(used(f"old-{n}", OLD, address=f"10.0.0.{n}") for n in range(9)))
        send(client, *(used(f"older-{n}", OLDER, customer=f"cus_{n}") for n in range(1, 4)))
        body = {"customer_id": "cus_1", "at": (NOW - timedelta(days=45)).isoformat()}
        client.post("/v1/invoices/finalise", json=body).raise_for_status()
        send(client, used("late", OLD, address="10.0.0.77"))
        # So many segments stay in the log; what is in it is not archived.
        for number in range(RETAINED_SEGMENTS_MAX + 2):
            send(client, used(f"new-{number}", NOW))
            client.get(f"/events/new-{number}").raise_for_status()
        send(client, used("old-but-in-the-log", OLDER, customer="cus_3"))
        before = answers(client)
    assert server.stop() == 0
    server.start(keep_events_days="35")
    server.kill()
    server.start(keep_events_days="35")
    yield {"server": server, "before": before, "state": retention(server)}
    server.kill()


def check_answers(archived: dict[str, Any]) -> None:
    server, state = archived["server"], archived["state"]
    assert (state["events"], state["keep_events_days"]) == (13, 35)
    assert [month["month"] for month in state["months"]] == [f"{OLDER:%Y-%m}", f"{OLD:%Y-%m}"]
    assert (state["missing"], state["trouble"]) == ([], None)
    with server.client() as client:
        assert answers(client) == archived["before"]
        repeats = [used("old-3", OLD), used("late", OLD), used("new-1", NOW)]
        assert send(client, *repeats) == ["duplicate"] * 3
        assert client.get("/v1/retention").status_code == 403
        page = client.get("/metrics").text
    assert "streamgauge_archived_events 13.0" in page
    assert "streamgauge_retention_failing 0.0" in page
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert 13 in [line["all_events"] for line in lines if line["event"] == "retention"]


def check_meter_made_later(
    archived: dict[str, Any],
) -> None:
    server = archived["server"]
    hd = {"key": "quality", "operator": "equals", "value": "hd"}
    with server.client() as client:
        made = plan("new", filter={"conjunction": "and", "clauses": [hd]})
        meter = client.post("/v1/plans", json=made).raise_for_status().json()["meter"]["id"]
        query = {"meter_id": meter, "group_by": "customer_id", **WINDOW}
        usage = client.get("/v1/usage", params=query).raise_for_status().json()
        listed = client.get("/events", params={"page_size": 100}).json()["items"]
        assert int(usage["quantity"]) == sum(each["metadata"]["bytes"] for each in listed)
        assert send(client, used("later", OLDER)) == ["stored"]
        after = client.get("/v1/usage", params=query).json()
        assert int(after["quantity"]) == int(usage["quantity"]) + 10**20 + 5
        assert client.get("/events/later").json()["customer_id"] == "cus_1"


def check_backup(archived: dict[str, Any], server_type: Any, tmp_path: Path) -> None:
    server = archived["server"]
    with server.client() as client:
        before = answers(client)
    data_dir, copy = str(server.data_dir), tmp_path / "copy"
    assert run(["backup", str(copy), "--data-dir", data_dir]) == 0
    restore = [sys.executable, "-c", MAIN, "restore", str(copy), "--data-dir"]
    subprocess.run([*restore, str(tmp_path / "new")], check=True, capture_output=True)
    restored = server_type(tmp_path / "new").start()
    try:
        with server.client() as client:
            token = client.headers["authorization"].split()[1]
        with restored.client(token) as client:
            assert answers(client) == before
    finally:
        restored.kill()
    held = manifest.read(copy).held
    assert held.stored == len(before[0]["items"])
    (copy / "manifest.json").unlink()
    path = min((copy / "archive").glob("events-*"))
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:9] + b"?" + content[10:])
    with pytest.raises(CorruptError, match=path.name):
        copying.copy(copy, held, tmp_path / "again", lambda _: None)


def check_forgotten(archived: dict[str, Any]) -> None:
    server = archived["server"]
    files = {path.name for path in (server.data_dir / "archive").glob("events-*")}
    with server.client() as client:
        usage = [each for each in answers(client) if "quantity" in each]
        answer = client.post("/v1/customers/cus_1/forget").raise_for_status().json()
        assert answer["done_at"] is not None
        listed = client.get("/events", params={"page_size": 100}).json()["items"]
        mine = [each["metadata"] for each in listed if each["customer_id"] == "cus_1"]
        assert all("address" not in metadata for metadata in mine)
        now = [each for each in answers(client) if "quantity" in each]
        assert [each["quantity"] for each in now] == [each["quantity"] for each in usage]
    left = {path.name for path in (server.data_dir / "archive").glob("events-*")}
    assert len(left) == len(files)
    assert left != files


def check_commands(archived: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    server = archived["server"]
    assert run(["retention", "--data-dir", str(server.data_dir), "-o", "json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert [month["events"] for month in state["months"]] == [3, 10]
    assert run(["retention", "--data-dir", str(server.data_dir)]) == 0
    assert f"{OLD:%Y-%m}" in capsys.readouterr().out
    (found,) = archive_findings(server.data_dir)
    assert found.verdict is Verdict.OK
    assert "13 events in 2 files" in found.detail
    newest = max((server.data_dir / "archive").glob("events-*"))
    content = newest.read_bytes()
    newest.write_bytes(content[:9] + b"?" + content[10:])
    (newest.parent / "events-x.parquet.new").write_bytes(b"")
    lost, left = archive_findings(server.data_dir)
    assert (lost.verdict, newest.name in lost.detail) == (Verdict.FAILED, True)
    assert (left.verdict, "events-x" in left.detail) == (Verdict.WARNING, True)
    newest.unlink()
    with server.client() as client:
        refused = client.get("/events/old-1")
        assert (refused.status_code, refused.json()["code"]) == (503, "UNAVAILABLE")
        assert str(server.data_dir) not in refused.text
        assert client.get("/events/new-1").status_code == 200
        (meter, *_) = client.get("/meters").json()["items"]
        query = {"meter_id": meter["id"], "group_by": "customer_id", **WINDOW}
        assert client.get("/v1/usage", params=query).status_code == 200
        assert "streamgauge_archive_missing_files 1.0" in client.get("/metrics").text
    newest.write_bytes(content)


def test_a_server_that_archives_answers_as_before_whatever_is_done_with_it(
    archived: dict[str, Any],
    server_type: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    check_answers(archived)
    check_meter_made_later(archived)
    check_backup(archived, server_type, tmp_path)
    capsys.readouterr()
    check_forgotten(archived)
    check_commands(archived, capsys)
