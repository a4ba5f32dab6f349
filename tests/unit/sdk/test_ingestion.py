from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streamgauge import ConfigurationError, Durability, Ingestion, track_stream_bytes
from streamgauge.core.ids import split_event_id
from streamgauge.sdk.spooldir import default_spool_dir
from streamgauge.sinks.base import RetryLaterError
from streamgauge.testing import ManualClock, MemorySink

Make = Callable[..., Ingestion]


def test_one_plain_call_is_one_event(ingest: Make, sink: MemorySink) -> None:
    ingestion = ingest()
    at = datetime(2026, 3, 1, 12, 0, 0, 123456)  # noqa: DTZ001 - naive is UTC.
    track_stream_bytes(ingestion, customer_id="ada", bytes=7, metadata={"hd": True, "w": 1.50})
    track_stream_bytes(ingestion, customer_id="ada", bytes=7, event_id="mine", timestamp=at)
    track_stream_bytes(ingestion, customer_id="ada", metadata={"kind": "start"})
    assert ingestion.flush()
    first, mine, start = sink.events
    assert first.metadata["bytes"] == 7
    assert first.metadata["hd"] is True
    assert (mine.event_id, mine.timestamp) == ("mine", at.replace(tzinfo=UTC))
    assert start.metadata == {"kind": "start"}
    assert [split_event_id(e.event_id)[1] for e in (first, start)] == [1, 2]  # type: ignore[index]
    assert ingestion.stats().acknowledged_events == 3


def test_coalescing_merges_plain_calls_but_not_those_with_id_or_time(
    ingest: Make, sink: MemorySink
) -> None:
    ingestion = ingest(coalesce=True, clock=ManualClock())
    for _ in range(10):
        ingestion.track(customer_id="ada", bytes=5)
    ingestion.track(customer_id="ada", bytes=100, event_id="own")
    ingestion.track(customer_id="ada", bytes=200, timestamp=datetime(2025, 6, 1, tzinfo=UTC))
    ingestion.track(customer_id="ada")
    assert ingestion.flush()
    assert sorted(event.bytes for event in sink.events) == [0, 50, 100, 200]


def test_flush_says_no_when_the_sink_is_away_and_nothing_is_lost(
    ingest: Make, sink: MemorySink
) -> None:
    ingestion = ingest()
    sink.fail_next(*(RetryLaterError("away") for _ in range(100)))
    ingestion.track(customer_id="ada", bytes=5)
    assert not ingestion.flush(0.05)
    assert ingestion.stats().spooled_bytes == 5
    assert ingestion.stats().holds


def test_closing_delivers_and_leaves_nothing_behind(
    ingest: Make, sink: MemorySink, spool_dir: Path
) -> None:
    before = threading.active_count()
    with ingest() as ingestion:
        ingestion.track(customer_id="ada", bytes=5)
        session = ingestion.session(customer_id="ada")
        session.add(6)
        assert threading.active_count() == before + 2
    assert sink.total_bytes() == 11
    assert list(spool_dir.iterdir()) == []
    assert threading.active_count() == before
    assert ingestion.close()


def test_what_is_counted_after_the_end_is_refused_and_shown(
    ingest: Make, caplog: pytest.LogCaptureFixture
) -> None:
    ingestion = ingest()
    session = ingestion.session(customer_id="ada")
    ingestion.close()
    session.add(5)
    ingestion.track(customer_id="ada", bytes=6)
    stats = ingestion.stats()
    assert (stats.counted_bytes, stats.refused_bytes, stats.refused_events) == (11, 11, 2)
    assert stats.holds
    assert caplog.records


def test_what_a_closed_ingestion_could_not_deliver_is_delivered_by_the_next(
    ingest: Make, sink: MemorySink, spool_dir: Path
) -> None:
    away = MemorySink()
    away.fail_next(*(RetryLaterError("away") for _ in range(100)))
    first = ingest(sink=away)
    first.session(customer_id="ada").add(5)
    first.track(customer_id="ada", bytes=6)
    assert not first.close(0.05)
    second = ingest()
    sink.wait_for_events(2)
    assert second.close()
    assert sink.bytes_by_customer() == {"ada": 11}
    assert second.stats().adopted.acknowledged_bytes == 11
    assert second.stats().counted_bytes == 0
    assert list(spool_dir.iterdir()) == []


def test_open_windows_are_cut_as_often_as_asked(ingest: Make, sink: MemorySink) -> None:
    ingestion = ingest(flush_interval_s=0.02, delivery_interval_s=0.02)
    session = ingestion.session(customer_id="ada")
    for count in (1, 2):
        session.add(4)
        sink.wait_for_events(count)
    assert session.total == 8


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc").exists(), reason="needs /proc")
def test_an_unwritable_spool_keeps_bytes_in_memory_and_says_so(
    ingest: Make, sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    ingestion = ingest(spool_dir=Path("/proc/streamgauge/spool"))
    session = ingestion.session(customer_id="ada")
    session.add(5)
    ingestion.track(customer_id="ada", bytes=6)
    assert ingestion.stats().durability is Durability.MEMORY
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert ingestion.flush()
    assert sink.total_bytes() == 11
    assert ingestion.stats().holds


def test_a_spool_directory_that_others_can_read_is_refused(ingest: Make, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    with pytest.raises(ConfigurationError, match="0700"):
        ingest(spool_dir=shared)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigurationError, match="link"):
        ingest(spool_dir=tmp_path / "link")


def test_the_spool_is_where_the_environment_says(tmp_path: Path) -> None:
    assert default_spool_dir({"STREAMGAUGE_SPOOL_DIR": "/a"}) == Path("/a")
    assert default_spool_dir({"XDG_STATE_HOME": "/s"}) == Path("/s/streamgauge/spool")
    home = Path.home() / ".local" / "state" / "streamgauge" / "spool"
    assert default_spool_dir({"XDG_STATE_HOME": "relative"}) == home
    assert default_spool_dir({}) == home


async def _race(ingestion: Ingestion, syncing: threading.Event) -> int:
    calls = 0
    session = ingestion.session(customer_id="ada")
    ingestion.track(customer_id="ada", bytes=1)
    flushing = asyncio.create_task(ingestion.aflush(20))
    assert await asyncio.to_thread(syncing.wait, 20)
    for _ in range(500):
        ingestion.track(customer_id="ada", bytes=1)
        session.add(1)
        with ingestion.session(customer_id="ben") as short:
            short.add(1)
        calls += 3
    return calls if not flushing.done() else 0


def test_an_event_loop_never_waits_for_the_disk(
    ingest: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncing, slow = threading.Event(), threading.Event()
    ingestion = ingest()
    real = os.fdatasync
    loop_thread = threading.get_ident()

    def held(fd: int) -> None:
        assert threading.get_ident() != loop_thread, "the event loop waits for the disk"
        syncing.set()
        slow.wait(20)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", held)
    monkeypatch.setattr(os, "fsync", held)
    with asyncio.Runner() as runner:
        assert runner.run(_race(ingestion, syncing)) == 1_500
        slow.set()
    monkeypatch.undo()
    assert ingestion.flush()
    assert ingestion.stats().acknowledged_bytes == 1_501


def test_importing_loads_the_standard_library_and_msgspec_alone() -> None:
    script = (
        "import sys, msgspec; before = set(sys.modules); import streamgauge; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new - set(sys.stdlib_module_names) - {'streamgauge'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_failing_step_is_told_and_the_threads_go_on(
    ingest: Make, sink: MemorySink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.sdk.worker._AFTER_FAILURE_S", 0.01)
    ingestion = ingest(sync_interval_s=0.01, delivery_interval_s=0.01)
    engine = ingestion._engine()
    real, failed = engine.tick, threading.Event()

    def stumble(**options: Any) -> bool:
        if failed.is_set():
            return real(**options)
        failed.set()
        raise RuntimeError("bug")

    monkeypatch.setattr(engine, "tick", stumble)
    assert failed.wait(10)
    ingestion.track(customer_id="ada", bytes=5)
    assert sink.wait_for_events(1)
    assert "RuntimeError: bug" in (ingestion.stats().last_error or "")


def test_an_ingestion_at_the_end_of_a_script_delivers(tmp_path: Path) -> None:
    script = """
import sys, pathlib
from streamgauge import Ingestion
from streamgauge.sinks.jsonl import JsonlSink
ingestion = Ingestion(environment="test_mode", event_name="s", spool_dir=sys.argv[1] + "/spool",
                      sink=JsonlSink(pathlib.Path(sys.argv[1]) / "out.jsonl"))
ingestion.session(customer_id="ada").add(5)
ingestion.track(customer_id="ada", bytes=6)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    text = (tmp_path / "out.jsonl").read_text()
    assert text.count('"customer_id":"ada"') == 2
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_session_keeps_its_ingestion_alive(ingest: Make, sink: MemorySink) -> None:
    session = ingest().session(customer_id="ada")
    gc.collect()
    session.add(5)
    assert session.total == 5
