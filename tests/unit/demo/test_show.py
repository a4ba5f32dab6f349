from __future__ import annotations

import sys
from pathlib import Path

import pytest

from streamgauge.core.errors import InvalidInputError, MissingExtraError
from streamgauge.demo import run


def test_an_unknown_output_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="output is 'xml'; it must be one of table, json"):
        run(output="xml", data_dir=tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_part_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("streamgauge.demo.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)
    with pytest.raises(MissingExtraError, match=r"websockets.*pip install 'streamgauge\[demo\]'"):
        run()
