from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from streamgauge import Ingestion
from streamgauge.core.limits import BATCH_EVENTS_MAX, SPOOL_BYTES_MAX
from streamgauge.sinks.base import RetryLaterError
from streamgauge.testing import ManualClock, MemorySink

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "capacity.md").read_text("utf-8")
PROGRAM = re.search(r"<!-- run: events -->\n```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
SHORT = {"title": "film", "quality": "720p"}


def row(start: str) -> list[int]:
    """Return the figures of a row of the guide."""
    (found,) = re.findall(rf"^\| {re.escape(start)}.*\|$", GUIDE, re.MULTILINE)
    _, *cells = found.strip("| ").split(" | ")
    return [int(cell.replace(",", "")) for cell in cells]


def test_the_guides_sums_are_what_its_program_says() -> None:
    assert PROGRAM is not None
    names: dict[str, Any] = {}
    exec(PROGRAM[1], names)
    for start, name, share in (
        ("video at", "video", 1),
        ("audio at", "audio", 1),
        ("audio, with", "segments", 10),
    ):
        streams, events, a_minute, requests = row(start)
        assert events == names[name]
        assert a_minute == round(events / 1_440)
        assert streams == round(events / 1_440 / share)
        assert requests == -(-a_minute // BATCH_EVENTS_MAX)


def measured(tmp_path: Path, metadata: dict[str, str]) -> tuple[float, float]:
    """Return what a group takes in the tally, and an event of it in the spool."""
    sink = MemorySink()
    sink.fail_next(*[RetryLaterError("an outage")] * 1_000)
    clock = ManualClock()
    ingestion = Ingestion(
        environment="test_mode", event_name="stream", spool_dir=tmp_path, sink=sink, clock=clock
    )
    count = 12_000
    for number in range(count):
        ingestion.session(customer_id=f"customer_{number:06}", metadata=metadata).add(1_000)
    page_bytes = sum(path.stat().st_blocks * 512 for path in tmp_path.glob("*/*.page"))
    clock.advance(61)
    ingestion._running().engine.tick()
    journal_bytes = sum(path.stat().st_size for path in tmp_path.glob("*/journal-*"))
    sink._failures.clear()
    ingestion.close(0)
    return page_bytes / count, journal_bytes / count


@pytest.mark.parametrize(
    ("metadata", "event_bytes"), [(SHORT, 310), ({"title": "x" * 250}, 540)], ids=["short", "long"]
)
def test_the_guides_figures_of_disk_are_what_files_have(
    tmp_path: Path, metadata: dict[str, str], event_bytes: int
) -> None:
    group, event = measured(tmp_path, metadata)
    assert str(event_bytes) in GUIDE
    assert abs(event / event_bytes - 1) < 0.05
    if metadata is SHORT:
        assert " 210 of disk" in GUIDE
        assert abs(group / 210 - 1) < 0.5, "pages are reserved whole"


def test_an_outage_fits_the_spool_as_the_guide_says() -> None:
    hours = SPOOL_BYTES_MAX / 310 / row("audio at")[1] * 24
    assert f"{int(hours)} hours of this audio" in GUIDE
    assert round(SPOOL_BYTES_MAX / 310 / row("video at")[1] / 7) == 10
