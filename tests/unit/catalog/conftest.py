from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamgauge.server.catalog import FILE_NAME, Catalog


class StepClock:
    def __init__(self) -> None:
        self.now_ns = 1_750_000_000_000_000_000

    def time_ns(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.time_ns()


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


@pytest.fixture
def catalog(path: Path, clock: StepClock) -> Iterator[Catalog]:
    opened = Catalog(path, clock=clock)
    yield opened
    opened.close()
