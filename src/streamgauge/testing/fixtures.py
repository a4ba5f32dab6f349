"""Fixtures for pytest, registered by the package's entry point."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamgauge.sinks.memory import MemorySink
from streamgauge.testing.conservation import assert_conserved

if TYPE_CHECKING:
    from streamgauge.sdk.ingestion import Ingestion


@pytest.fixture
def streamgauge_sink() -> MemorySink:
    """Return the sink that ``streamgauge_ingestion`` delivers to."""
    return MemorySink()


@pytest.fixture
def streamgauge_ingestion(tmp_path: Path, streamgauge_sink: MemorySink) -> Iterator[Ingestion]:
    """Yield an ingestion with a spool of its own; afterwards no byte is missing."""
    from streamgauge.sdk.ingestion import Ingestion  # noqa: PLC0415 - most tests never ask for it

    ingestion = Ingestion(
        environment="test_mode",
        event_name="stream_consumption",
        spool_dir=tmp_path / "streamgauge-spool",
        sink=streamgauge_sink,
    )
    yield ingestion
    ingestion.close()
    assert_conserved(ingestion.stats())
