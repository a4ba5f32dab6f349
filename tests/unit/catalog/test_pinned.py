from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamgauge.core.errors import UnavailableError, UnsupportedError
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.counts import counts
from streamgauge.server.catalog.customers import NewCustomer
from streamgauge.server.catalog.pinned import pin
from streamgauge.server.catalog.postgresql import PostgresqlDatabase
from streamgauge.server.layout import CATALOG

ANN = NewCustomer(email="ann@example.com", name="Ann")


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Catalog]:
    opened = Catalog(tmp_path / CATALOG)
    yield opened
    opened.close()


def test_a_catalog_elsewhere_is_not_copied() -> None:
    elsewhere = PostgresqlDatabase("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(UnsupportedError, match="backups of its own"):
        pin(elsewhere, lambda: None)
    elsewhere.close()


def test_a_copy_is_of_the_instant_that_nobody_changed(ours: Catalog, tmp_path: Path) -> None:
    """A writer that comes meanwhile waits for the instant alone, and is not in the copy."""
    ours.customers.create("test_mode", ANN)
    waiting = threading.Thread(target=ours.customers.create, args=("test_mode", ANN))

    def fix() -> int:
        waiting.start()
        waiting.join(0.1)
        return len(ours.customers.list("test_mode"))

    fixed, pinned = pin(ours.database, fix)
    with contextlib.closing(pinned):
        waiting.join(10)
        assert len(ours.customers.list("test_mode")) == 2
        pinned.copy(tmp_path / "copy.sqlite")
    copied = Catalog(tmp_path / "copy.sqlite")
    assert (fixed, counts(copied)["customers"]) == (1, 1)
    assert (tmp_path / "copy.sqlite").stat().st_mode & 0o777 == 0o600
    copied.close()


def test_a_copy_that_no_disk_takes_says_so(ours: Catalog, tmp_path: Path) -> None:
    _, pinned = pin(ours.database, lambda: None)
    pinned.close()
    with pytest.raises(UnavailableError, match="cannot be copied"):
        pinned.copy(tmp_path / "other")
