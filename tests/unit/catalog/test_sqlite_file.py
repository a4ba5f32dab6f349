from __future__ import annotations

from pathlib import Path

import pytest

from streamgauge.core.errors import ConfigurationError
from streamgauge.server.catalog import Catalog
from streamgauge.server.layout import CATALOG


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / CATALOG


@pytest.mark.parametrize("offset", [0, 20])
def test_a_damaged_file_is_refused_and_left_alone(path: Path, offset: int) -> None:
    Catalog(path).close()
    damaged = path.read_bytes()[:offset] + b"\xff" * 8192
    path.write_bytes(damaged)
    with pytest.raises(ConfigurationError, match="cannot be read as a catalog"):
        Catalog(path)
    assert path.read_bytes() == damaged


def test_a_file_whose_first_page_alone_is_whole_is_refused(path: Path) -> None:
    Catalog(path).close()
    path.write_bytes(path.read_bytes()[:4096].ljust(path.stat().st_size, b"\xff"))
    with pytest.raises(ConfigurationError, match="cannot be read as a catalog"):
        Catalog(path)


def test_a_directory_in_place_of_the_file_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read as a catalog"):
        Catalog(path)


@pytest.mark.parametrize("name", ["a%41b", "a b", "a'\u00fcb", "%"])
def test_the_file_is_where_the_path_says_whatever_its_letters(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    Catalog(tmp_path / name / CATALOG).close()
    assert (tmp_path / name / CATALOG).stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
