from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import ConfigurationError, LockedError
from streamgauge.core.files import Directory, hold, read_all
from streamgauge.core.memory import MemoryDirectory


@pytest.fixture(params=["disk", "memory"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Directory:
    if request.param == "memory":
        return MemoryDirectory()
    return OsDirectory(tmp_path / "ours", create=True)


def test_what_is_written_is_read_back_at_its_offset(directory: Directory) -> None:
    file = directory.open("file", create=True)
    file.write_at(3, b"abc")
    file.write_at(1, b"xy")
    assert read_all(file) == b"\0xyabc"
    assert file.read_at(4, 100) == b"bc"
    file.truncate(2)
    file.sync()
    assert (file.size(), read_all(file)) == (2, b"\0x")
    file.close()
    file.close()


def test_a_file_is_made_once_and_opened_often(directory: Directory) -> None:
    with pytest.raises(FileNotFoundError):
        directory.open("file")
    directory.open("file", create=True).close()
    with pytest.raises(FileExistsError):
        directory.open("file", create=True)
    directory.open("file").close()
    assert directory.names() == ["file"]
    directory.remove("file")
    directory.remove("file")
    directory.sync()
    assert directory.names() == []


def test_a_page_keeps_what_was_stored_into_it(directory: Directory) -> None:
    page = directory.map("page", 4096)
    assert bytes(page.view) == bytes(4096)
    page.view[10:13] = b"abc"
    page.sync()
    again = directory.map("page")
    assert bytes(again.view[10:13]) == b"abc"
    with pytest.raises(FileExistsError):
        directory.map("page", 4096)
    again.close()
    page.close()


def test_a_view_outlives_its_closed_page(directory: Directory) -> None:
    page = directory.map("page", 4096)
    part = page.view[:8]
    page.close()
    part[0] = 7
    assert part[0] == 7


def test_a_replaced_file_is_the_old_one_or_the_new_one(directory: Directory) -> None:
    directory.replace("checkpoint", b"old and longer")
    directory.replace("checkpoint", b"new")
    assert read_all(directory.open("checkpoint")) == b"new"
    assert directory.names() == ["checkpoint"]


def test_a_lock_is_held_by_one_until_it_is_released(directory: Directory) -> None:
    held = hold(directory, "lock", "the spool")
    assert directory.lock("lock") is None
    with pytest.raises(LockedError, match="the spool is already open in another process"):
        hold(directory, "lock", "the spool")
    held.release()
    held.release()
    hold(directory, "lock", "the spool").release()


def test_a_child_is_made_only_on_request(directory: Directory) -> None:
    with pytest.raises(FileNotFoundError):
        directory.child("spool")
    directory.child("spool", create=True).replace("file", b"x")
    with pytest.raises(OSError, match=r"spool|not empty"):
        directory.remove_child("spool")
    directory.child("spool").remove("file")
    directory.remove_child("spool")
    assert directory.names() == []


def test_a_directory_on_disk_is_private_to_us(tmp_path: Path) -> None:
    OsDirectory(tmp_path / "a" / "ours", create=True).replace("file", b"x")
    assert (tmp_path / "a" / "ours").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "ours" / "file").stat().st_mode & 0o777 == 0o600


def test_a_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs").chmod(0o750)
    with pytest.raises(ConfigurationError, match="must be ours with mode 0700"):
        OsDirectory(tmp_path / "theirs", create=True)


def test_a_link_in_the_place_of_a_directory_or_a_file_is_refused(tmp_path: Path) -> None:
    real = OsDirectory(tmp_path / "real", create=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigurationError, match="is a link"):
        OsDirectory(tmp_path / "link", create=True)
    (tmp_path / "real" / "planted").symlink_to("/dev/null")
    for open_it in (real.open, real.map, real.lock):
        with pytest.raises(OSError, match="symbolic links"):
            open_it("planted")


def test_a_lock_is_not_inherited_by_a_started_program(tmp_path: Path) -> None:
    directory = OsDirectory(tmp_path / "ours", create=True)
    held = hold(directory, "lock", "the spool")
    links = {path: path.resolve() for path in Path("/proc/self/fd").iterdir() if path.exists()}
    lock = tmp_path / "ours" / "lock"
    assert [os.get_inheritable(int(fd.name)) for fd, to in links.items() if to == lock] == [False]
    held.release()


def test_a_forked_child_keeps_no_lock_of_its_parent(tmp_path: Path) -> None:
    directory = OsDirectory(tmp_path / "ours", create=True)
    lock = hold(directory, "lock", "it")
    forked, child_forked = os.pipe()
    child_may_end, may_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(may_end)
        os.write(child_forked, b".")
        os.read(child_may_end, 1)
        os._exit(0)
    try:
        os.read(forked, 1)
        # What the child lets go of is still held here.
        assert directory.lock("lock") is None
        lock.release()
        hold(directory, "lock", "it").release()
    finally:
        os.close(may_end)
        os.waitpid(child, 0)
        for fd in (forked, child_forked, child_may_end):
            os.close(fd)
