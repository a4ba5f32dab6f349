from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamgauge.core.errors import LockedError
from streamgauge.sinks.base import Outgoing, RetryLaterError
from streamgauge.sinks.jsonl import JsonlSink

Event = Callable[..., Outgoing]


def _ids(path: Path) -> list[str]:
    return [json.loads(line)["event_id"] for line in path.read_text().splitlines()]


def test_events_are_lines_of_a_private_file(tmp_path: Path, event: Event) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonlSink(path)
    assert sink.deliver([event("a-0"), event("a-1")]).acknowledged == ("a-0", "a-1")
    sink.deliver([event("a-2")])
    sink.close()
    assert _ids(path) == ["a-0", "a-1", "a-2"]
    assert path.read_bytes().splitlines()[0] == event("a-0").body
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sink.destination == f"file:{path}"


def test_a_repeat_is_acknowledged_and_written_once(tmp_path: Path, event: Event) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonlSink(path)
    sink.deliver([event("a-0"), event("a-1")])
    assert sink.deliver([event("a-1"), event("a-2")]).acknowledged == ("a-1", "a-2")
    sink.close()
    assert _ids(path) == ["a-0", "a-1", "a-2"]


def test_a_repeat_after_a_restart_is_written_once(tmp_path: Path, event: Event) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        sink = JsonlSink(path)
        sink.deliver([event("a-0"), event("a-1")])
        sink.close()
    assert _ids(path) == ["a-0", "a-1"]


def test_every_torn_end_is_cut_and_the_batch_written_whole(tmp_path: Path, event: Event) -> None:
    path = tmp_path / "events.jsonl"
    first, second = event("a-0").body + b"\n", event("a-1").body + b"\n"
    for torn in range(len(second)):
        path.write_bytes(first + second[:torn])
        sink = JsonlSink(path)
        sink.deliver([event("a-1")])
        sink.close()
        assert path.read_bytes() == first + second


def test_lines_of_others_stay(tmp_path: Path, event: Event) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"not json\n\xff\n{}\n")
    sink = JsonlSink(path)
    sink.deliver([event("a-0")])
    sink.close()
    assert path.read_bytes() == b"not json\n\xff\n{}\n" + event("a-0").body + b"\n"


def test_one_process_holds_the_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonlSink(path)
    program = f"from streamgauge.sinks.jsonl import JsonlSink; JsonlSink({str(path)!r})"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert b"LockedError" in ended.stderr
    with pytest.raises(LockedError, match=r"events\.jsonl"):
        JsonlSink(path)
    sink.close()
    JsonlSink(path).close()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"):
        JsonlSink(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_keeps_nothing_of_the_batch_and_asks_for_it_later(
    tmp_path: Path, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonlSink(path)
    sink.deliver([event("a-0")])
    real_write, written = os.write, []

    def short_write(fd: int, data: bytes) -> int:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(real_write(fd, bytes(data)[:10]))
        return written[0]

    monkeypatch.setattr(os, "write", short_write)
    with pytest.raises(RetryLaterError, match="No space left"):
        sink.deliver([event("a-1"), event("a-2")])
    assert _ids(path) == ["a-0"]
    monkeypatch.undo()
    sink.deliver([event("a-1"), event("a-2")])
    sink.close()
    assert _ids(path) == ["a-0", "a-1", "a-2"]


def test_a_forked_child_does_not_write_into_its_parents_file(
    tmp_path: Path, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonlSink(path)
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)
    with pytest.raises(RetryLaterError, match="after a fork"):
        sink.deliver([event("a-0")])
    monkeypatch.undo()
    sink.close()
    assert path.read_bytes() == b""
