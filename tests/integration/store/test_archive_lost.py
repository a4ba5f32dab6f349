"""An archive of which something is lost or damaged: no event is, and no wrong number is given."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.server import archived as states
from streamgauge.server.store import EventStore
from tests.integration.store.archiving import SCOPE, Store


def break_state(store: Store, newest: int) -> None:
    """Damage the newest parts of the engine's table, as the engine finds them at its next start."""
    parts = store.store._engine.rows(
        "SELECT path FROM system.parts WHERE active AND table = 'archive' "
        f"ORDER BY min_block_number DESC LIMIT {newest}"
    )
    assert len(parts) == newest
    store.store.close()
    for (path,) in parts:
        for data in Path(path).glob("data*"):
            data.write_bytes(data.read_bytes()[:-1])


@pytest.mark.parametrize("newest", [1, 3])
def test_a_state_that_the_engine_lost_is_taken_from_its_copy(
    store: Store, new_meter: Any, newest: int
) -> None:
    store.store._engine.define("SYSTEM STOP MERGES archive")
    meter = new_meter()
    assert store.archive() == [24, 24, 24]
    before, files = store.everything(meter), store.files()
    break_state(store, newest)
    store.open()
    assert store.store.archiver.clean()
    assert (store.everything(meter), store.files()) == (before, files)
    store.check_settled()
    store.reopen()
    assert store.everything(meter) == before


def test_a_copy_that_is_damaged_lets_nothing_be_removed(store: Store) -> None:
    store.archive()
    files = store.files()
    store.store.close()
    manifest = store.directory / states.MANIFEST
    whole = manifest.read_bytes()
    manifest.write_bytes(whole.replace(b"2026-04-01", b"2026-03-01"))
    with pytest.raises(ConfigurationError, match=r"manifest\.json is damaged; take it from a"):
        store.open()
    assert store.files() == files
    manifest.write_bytes(whole)
    store.open()
    store.check_settled()


@pytest.mark.parametrize("name", ["b{x}", "d*"])
def test_an_archive_in_a_place_that_the_engine_takes_for_a_pattern_is_refused(
    store: Store, tmp_path: Path, name: str
) -> None:
    store.archive()
    store.store.close()
    moved = tmp_path / name
    shutil.copytree(store.directory, moved)
    with pytest.raises(ConfigurationError, match="its path must hold no"):
        EventStore(store._dsn, query_clients=2, archive=moved)
    store.open()


def test_a_byte_that_changed_within_a_file_gives_no_number(
    store: Store, new_meter: Callable[..., Any]
) -> None:
    store.archive()
    path = store.directory / store.files()[0]
    whole = path.read_bytes()
    for at in range(5, len(whole), len(whole) // 9):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UnavailableError, match="of 2026-01 cannot be read"):
            store.store.events(**SCOPE, limit=1000)
        with pytest.raises(UnavailableError, match="of 2026-01 cannot be read"):
            store.usage(new_meter(), up_to=2**63, customer_id="cus_1é")
    path.write_bytes(whole)
    assert len(store.store.events(**SCOPE, limit=1000)) == 96
