from __future__ import annotations

from pathlib import Path

import pytest

from streamgauge import Ingestion
from streamgauge.core.errors import ConfigurationError
from streamgauge.core.mounts import file_system_of, network_file_system
from streamgauge.testing import MemorySink


def test_the_file_system_is_that_of_the_innermost_mount() -> None:
    mounts = (
        "/dev/a / ext4 rw 0 0\nnas:/x /srv/my\\040data nfs4 rw 0 0\ntmpfs /srv/my\\040 tmpfs rw 0 0"
    )
    assert file_system_of(Path("/srv/my data/billing"), mounts) == "nfs4"
    assert file_system_of(Path("/srv/my database"), mounts) == "ext4"


def test_a_spool_on_a_network_file_system_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nnas:/x {tmp_path.resolve()} nfs4 rw 0 0\n")
    assert network_file_system(tmp_path / "spool", mounts) == "nfs4"
    monkeypatch.setattr("streamgauge.core.mounts.network_file_system.__defaults__", (mounts,))
    with pytest.raises(ConfigurationError, match=r"network file system \(nfs4\).*local disk"):
        Ingestion(
            environment="test_mode",
            event_name="stream",
            spool_dir=tmp_path / "spool",
            sink=MemorySink(),
        )


def test_local_paths_and_systems_without_a_list_of_mounts_are_on_none(tmp_path: Path) -> None:
    assert network_file_system(tmp_path) is None
    assert network_file_system(tmp_path, tmp_path / "none") is None
