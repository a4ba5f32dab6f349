"""Backups of a real server under load, what they hold to the event and the byte, and refusals."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec
import pytest

from streamgauge.cli.root import run
from streamgauge.core import checksums
from streamgauge.core.errors import ConfigurationError, CorruptError, InvalidInputError, LockedError
from streamgauge.core.ids import event_id, new_writer_id
from streamgauge.server.backup import copying, holding, manifest, restoring
from streamgauge.server.catalog import Catalog
from streamgauge.server.layout import CATALOG
from streamgauge.server.store import EventStore

MAIN = "import sys; from streamgauge.cli import main; sys.exit(main())"
WINDOW = {"start": "2025-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z"}
BATCH = 40
METER = {
    "name": "egress",
    "event_name": "stream",
    "measurement_unit": "byte",
    "aggregation": {"type": "sum", "key": "bytes"},
}


LAST_MONTH = datetime.now(UTC).replace(day=1, hour=0) - timedelta(days=1)


def now() -> datetime:
    return datetime.now(UTC)


def command(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *arguments, "--output", "json"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def api(url: str, token: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=30)


class Load:
    """Clients that send until they are told to stop.

    Attributes:
        sent: Per batch: when it was sent, when it was acknowledged, its events.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(3)]
        self.sent: list[tuple[float, float, list[dict[str, Any]]]] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def wait_for(self, batches: int) -> None:
        target, end = len(self.sent) + batches, time.monotonic() + 30
        while len(self.sent) < target:
            assert time.monotonic() < end
            time.sleep(0.01)

    def _send(self, number: int) -> None:
        writer, count = new_writer_id(os.urandom), 0
        with api(self._url, self._token) as client:
            while not self._stop.is_set():
                batch = []
                for _ in range(BATCH):
                    count += 1
                    id = event_id(writer, count) if number else f"foreign-{count}"
                    batch.append(
                        {
                            "event_id": id,
                            "customer_id": f"cus_{count % 7}",
                            "event_name": "stream",
                            "timestamp": (LAST_MONTH if count % 2 else now()).isoformat(),
                            "metadata": {"bytes": count * 1_000_003, "quality": f"q{count % 3}"},
                        }
                    )
                began = time.monotonic()
                client.post("/events/ingest", json={"events": batch}).raise_for_status()
                self.sent.append((began, time.monotonic(), batch))
                # Some idle time: the other processes of this test have their work, too.
                time.sleep(0.05)


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory, server_type: Any) -> dict[str, Any]:
    """A backup that was taken under load, and what the clients know of it."""
    path = tmp_path_factory.mktemp("backup")
    running = server_type(path / "data", path / "log")
    catalog = Catalog(running.data_dir / CATALOG)
    token = catalog.keys.create(mode="test_mode", name="t").token
    catalog.close()
    try:
        with api(running.url, token) as client, Load(running.url, token) as load:
            plan = {"meter": METER, "currency": "USD", "price_per_unit": "5", "price_unit": "GB"}
            meter = client.post("/v1/plans", json=plan).raise_for_status().json()["meter"]["id"]
            load.wait_for(20)
            body = {"customer_id": "cus_1", "name": "Ann", "email": "ann@example.com"}
            client.post("/customers", json=body).raise_for_status()
            body = {"customer_id": "cus_1"}
            invoices = client.post("/v1/invoices/finalise", json=body).raise_for_status().json()
            began = time.monotonic()
            told = command("backup", str(path / "copy"), "--data-dir", str(running.data_dir))
            ended = time.monotonic()
            load.wait_for(20)
            late = {"customer_id": "cus_2", "name": "Bob", "email": "bob@example.com"}
            client.post("/customers", json=late).raise_for_status()
            body = {"customer_id": "cus_2"}
            client.post("/v1/invoices/finalise", json=body).raise_for_status()
    finally:
        status = running.stop()
    assert status == 0
    return {
        "copy": path / "copy", "token": token, "meter": meter, "told": told, "load": load,
        "invoices": invoices["items"], "began": began, "ended": ended, "data_dir": running.data_dir,
    }  # fmt: skip


@pytest.fixture(scope="module")
def restored(
    taken: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, server_type: Any
) -> Iterator[dict[str, Any]]:
    path = tmp_path_factory.mktemp("restored")
    told = command("restore", str(taken["copy"]), "--data-dir", str(path / "data"))
    running = server_type(path / "data", path / "log")
    try:
        with api(running.url, taken["token"]) as client:
            yield {"client": client, "told": told, "data_dir": path / "data"}
    finally:
        status = running.stop()
    assert status == 0, (path / "log").read_text()


def events_of(client: httpx.Client) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for page in range(1_000):
        query = {"page_size": 100, "page_number": page}
        items = client.get("/events", params=query).raise_for_status().json()["items"]
        found |= {one["event_id"]: one for one in items}
        if len(items) < 100:
            return found
    raise AssertionError("more pages than events")


def stored_up_to(data_dir: Path, segment: int) -> set[str]:
    """Return what the server that was copied has of the log up to a segment."""
    store = EventStore(f"chdb://{data_dir / 'engine'}")
    query = f"SELECT event_id FROM streamgauge.events WHERE log_position < {segment + 1 << 32}"
    try:
        return {id for (id,) in store._engine.rows(query)}
    finally:
        store.close()


def test_a_backup_under_load_is_the_state_of_one_place_in_the_log(
    taken: dict[str, Any], restored: dict[str, Any]
) -> None:
    events = events_of(restored["client"])
    assert events.keys() == stored_up_to(taken["data_dir"], taken["told"]["segment"])
    assert restored["told"]["events"] == len(events)
    sides = set()
    for sent, acknowledged, batch in taken["load"].sent:
        inside = {event["event_id"] in events for event in batch}
        assert len(inside) == 1, "a batch is in the backup whole or not at all"
        if acknowledged < taken["began"]:
            assert inside == {True}
        if sent > taken["ended"]:
            assert inside == {False}
        sides |= inside
    assert sides == {True, False}, "the load ran before, during and after the backup"


def test_usage_of_a_restored_server_is_exact_to_the_byte(
    taken: dict[str, Any], restored: dict[str, Any]
) -> None:
    events = events_of(restored["client"])
    sent = {e["event_id"]: e for _, _, batch in taken["load"].sent for e in batch}
    query = {"meter_id": taken["meter"], "group_by": "customer_id", **WINDOW}
    answer = restored["client"].get("/v1/usage", params=query).raise_for_status().json()
    owed: dict[str, int] = {}
    for id in events:
        customer = sent[id]["customer_id"]
        owed[customer] = owed.get(customer, 0) + sent[id]["metadata"]["bytes"]
    assert int(answer["quantity"]) == sum(owed.values())
    assert {id: events[id]["metadata"] for id in events} == {
        id: sent[id]["metadata"] for id in events
    }


def test_an_invoice_is_the_one_that_was_kept_and_its_events_add_up_to_it(
    taken: dict[str, Any], restored: dict[str, Any]
) -> None:
    client = restored["client"]
    (kept,) = taken["invoices"]
    (listed,) = client.get("/v1/invoices").raise_for_status().json()["items"]
    assert listed["id"] == kept["id"]
    got = client.get(f"/v1/invoices/{kept['id']}").raise_for_status().json()
    assert {**got, "unbilled_late": []} == kept
    path = f"/v1/invoices/{kept['id']}/lines/1/events"
    explained = client.get(path, params={"page_size": 1}).raise_for_status().json()
    assert explained["units"] == kept["lines"][0]["consumed_units"] != "0"


def test_the_catalog_is_of_the_same_moment(restored: dict[str, Any]) -> None:
    items = restored["client"].get("/customers").raise_for_status().json()["items"]
    assert [one["name"] for one in items] == ["Ann"]
    assert (restored["told"]["customers"], restored["told"]["invoices"]) == (1, 1)


def test_a_repeat_from_before_is_known_and_one_from_behind_is_new(
    taken: dict[str, Any], restored: dict[str, Any]
) -> None:
    client, known = restored["client"], events_of(restored["client"])
    for _, _, batch in taken["load"].sent:
        answer = client.post("/events/ingest", json={"events": batch}).raise_for_status().json()
        expected = "duplicate" if batch[0]["event_id"] in known else "stored"
        assert {each["result"] for each in answer["results"]} == {expected}
    sent = {e["event_id"]: e for _, _, batch in taken["load"].sent for e in batch}
    query = {"meter_id": taken["meter"], **WINDOW}
    answer = client.get("/v1/usage", params=query).raise_for_status().json()
    assert int(answer["quantity"]) == sum(e["metadata"]["bytes"] for e in sent.values())


def test_a_backup_is_private_and_leaves_nothing_in_the_data_directory(
    taken: dict[str, Any],
) -> None:
    assert taken["copy"].stat().st_mode & 0o777 == 0o700
    files = [path for path in taken["copy"].rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert list((taken["data_dir"] / "backups").iterdir()) == []
    assert list((taken["data_dir"] / "engine" / "shadow").iterdir()) == [
        taken["data_dir"] / "engine" / "shadow" / "increment.txt"
    ]


def quiet(_done: int) -> None:
    pass


def test_each_damage_of_a_backup_is_refused_by_name(taken: dict[str, Any], tmp_path: Path) -> None:
    whole = manifest.read(taken["copy"])
    for entry in (whole.files[0], next(e for e in whole.files if e.path.endswith("data.bin"))):
        path = taken["copy"] / entry.path
        content = path.read_bytes()
        for damaged in (content[:-1], bytes([content[0] ^ 1]) + content[1:]):
            target = tmp_path / f"{len(damaged)}-{entry.size}"
            path.unlink()
            path.write_bytes(damaged)
            try:
                with pytest.raises(CorruptError, match=entry.path):
                    restoring.restore(taken["copy"], target, quiet)
            finally:
                path.write_bytes(content)
            if len(damaged) == len(content):
                with pytest.raises(ConfigurationError, match="interrupted restore"):
                    restoring.check_finished(target)
                with pytest.raises(InvalidInputError, match="interrupted restore"):
                    restoring.restore(taken["copy"], target, quiet)
            else:
                assert not target.exists()
    text = (taken["copy"] / "manifest.json").read_text()
    (taken["copy"] / "manifest.json").write_text(text.replace('"segment":', '"segment":1'))
    with pytest.raises(CorruptError, match="checksum"):
        restoring.restore(taken["copy"], tmp_path / "other", quiet)
    (taken["copy"] / "manifest.json").unlink()
    with pytest.raises(ConfigurationError, match="no backup, or one that was interrupted"):
        restoring.restore(taken["copy"], tmp_path / "other", quiet)
    (taken["copy"] / "manifest.json").write_text(text)
    assert not (tmp_path / "other").exists()


def test_a_backup_that_the_disk_refuses_leaves_nothing_that_is_restored(
    taken: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = manifest.read(taken["copy"])
    copied = checksums.copied
    calls = 0

    def full(source: Path, path: Path | None) -> tuple[int, str]:
        nonlocal calls
        calls += 1
        if calls == len(whole.files):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return copied(source, path)

    monkeypatch.setattr(checksums, "copied", full)
    source = tmp_path / "state"
    copying.shutil.copytree(taken["copy"], source, ignore=lambda *_: ["manifest.json"])
    with pytest.raises(OSError, match="No space left"):
        copying.copy(source, whole.held, tmp_path / "full", quiet)
    assert not (tmp_path / "full").exists()
    calls = -len(whole.files)
    again = copying.copy(source, whole.held, tmp_path / "full", quiet)
    assert again == msgspec.structs.replace(whole, files=again.files)
    assert {(e.path, e.blake2b) for e in again.files} == {(e.path, e.blake2b) for e in whole.files}


def test_places_that_hold_something_are_refused(
    taken: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = str(taken["data_dir"])
    (tmp_path / "file").write_text("")
    for place, rule in (
        (tmp_path, "be empty"),
        (tmp_path / "file", "be a directory"),
        (taken["data_dir"] / "within", "be outside the data directory"),
    ):
        assert run(["backup", str(place), "--data-dir", data_dir]) == 2
        assert rule in capsys.readouterr().err
    assert run(["restore", str(taken["copy"]), "--data-dir", data_dir]) == 2
    assert "be empty" in capsys.readouterr().err
    assert run(["restore", str(tmp_path), "--data-dir", str(tmp_path / "new")]) == 2
    assert "no backup" in capsys.readouterr().err


def test_one_backup_runs_at_a_time_and_keys_hold_none(
    restored: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with holding.free_to_copy(restored["data_dir"]) as free:
        assert free
        status = run(["backup", str(tmp_path / "b"), "--data-dir", str(restored["data_dir"])])
    assert (status, "another backup" in capsys.readouterr().err) == (5, True)
    refused = restored["client"].post("/v1/backups")
    assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")
    assert restored["client"].delete("/v1/backups/x").status_code == 403
    assert LockedError.code == "LOCKED"


def test_a_backup_without_a_server_is_of_the_directory_also_behind_a_link(
    restored: dict[str, Any], taken: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "linked").symlink_to(taken["data_dir"].parent)
    linked = tmp_path / "linked" / taken["data_dir"].name
    told = command("backup", str(tmp_path / "b"), "--data-dir", str(linked))
    assert told["segment"] > taken["told"]["segment"]
    assert manifest.read(tmp_path / "b").held.stored == sum(
        len(batch) for _, _, batch in taken["load"].sent
    )
    del restored
