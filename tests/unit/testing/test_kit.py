from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from streamgauge import Adopted, Durability, Ingestion, Stats
from streamgauge.core.clock import utc
from streamgauge.testing import ManualClock, MemorySink, assert_conserved

STATS = Stats(
    counted_bytes=10,
    open_bytes=1,
    spooled_bytes=2,
    acknowledged_bytes=3,
    refused_bytes=4,
    spooled_events=1,
    acknowledged_events=1,
    refused_events=1,
    adopted=Adopted(bytes=6, spooled_bytes=1, acknowledged_bytes=2, refused_bytes=3, spools=1),
    left_alone=(),
    oldest_pending_age_s=None,
    last_error=None,
    durability=Durability.DISK,
)


def test_a_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(datetime(2026, 3, 1, 12, 0))  # noqa: DTZ001 - naive is UTC
    assert utc(clock.time_ns()) == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    clock.advance(1.5)
    assert utc(clock.time_ns()) == datetime(2026, 3, 1, 12, 0, 1, 500_000, tzinfo=UTC)
    assert clock.monotonic_ns() == 1_500_000_000
    clock.set(datetime(2020, 1, 1, tzinfo=UTC))
    assert utc(clock.time_ns()) == datetime(2020, 1, 1, tzinfo=UTC)
    assert clock.monotonic_ns() == 1_500_000_000
    with pytest.raises(AssertionError, match="does not go back"):
        clock.advance(-1)


def test_conservation_holds_when_the_places_add_up() -> None:
    assert_conserved(STATS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"open_bytes": 0}, r"10 bytes counted, but 0 open \+ 2 spooled .* = 9"),
        ({"counted_bytes": 11}, "11 bytes counted, but .* = 10"),
        ({"open_bytes": -1, "spooled_bytes": 4}, "-1 open"),
        ({"adopted": Adopted(bytes=6, spooled_bytes=5)}, "6 bytes adopted, but 5 spooled"),
    ],
)
def test_conservation_fails_with_the_figures(changes: dict[str, object], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_conserved(msgspec.structs.replace(STATS, **changes))


def test_the_fixtures_deliver_to_memory(
    streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> None:
    with streamgauge_ingestion.session(customer_id="ann") as session:
        session.add(5)
    assert streamgauge_ingestion.flush()
    assert streamgauge_sink.bytes_by_customer() == {"ann": 5}
    assert streamgauge_sink.events[0].event_name == "stream_consumption"


def test_a_manual_clock_decides_in_which_window_bytes_fall(tmp_path: Path) -> None:
    clock, sink = ManualClock(), MemorySink()
    with (
        Ingestion(
            environment="test_mode",
            event_name="stream",
            spool_dir=tmp_path / "spool",
            sink=sink,
            clock=clock,
        ) as ingestion,
        ingestion.session(customer_id="ann") as session,
    ):
        session.add(5)
        clock.advance(60)
        assert ingestion.flush()
        session.add(7)
        assert ingestion.flush()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert {event.timestamp: event.bytes for event in sink.events} == {
        start: 5,
        start + timedelta(minutes=1): 7,
    }


def test_the_fixtures_are_there_in_any_project_with_pytest(tmp_path: Path) -> None:
    test = (
        "def test_a_download(streamgauge_ingestion, streamgauge_sink):\n"
        "    streamgauge_ingestion.track(customer_id='ann', bytes=7)\n"
        "    assert streamgauge_ingestion.flush()\n"
        "    assert streamgauge_sink.total_bytes() == 7\n"
    )
    (tmp_path / "test_theirs.py").write_text(test)
    options = ["-q", "-W", "error", "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_theirs.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr


def test_the_kit_works_without_pytest_and_loads_no_http() -> None:
    program = (
        "import sys; sys.modules['pytest'] = None\n"
        "import streamgauge.testing as kit\n"
        "assert not hasattr(kit, 'streamgauge_sink')\n"
        "kit.MemorySink(); kit.ManualClock()\n"
        "assert not {'urllib3', 'starlette'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
