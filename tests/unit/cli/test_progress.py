from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from streamgauge.cli.progress import waiting

WAITING = """
import sys
from streamgauge.cli.progress import waiting
with waiting("Adding up", shown_after_s=0.0) as say:
    sys.stdin.readline()
    say("Nearly there")
    sys.stdin.readline()
print("done")
"""


def read_until(fd: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        seen += os.read(fd, 4_096)
    return seen


def test_a_terminal_sees_what_is_going_on_and_how_it_changes() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", WAITING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm"},
    ) as process:
        os.close(theirs)
        assert process.stdin is not None
        assert process.stdout is not None
        read_until(ours, b"Adding up")
        process.stdin.write(b"\n")
        process.stdin.flush()
        read_until(ours, b"Nearly there")
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.read() == b"done\n"
    os.close(ours)


def test_nothing_is_written_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting("Adding up", shown_after_s=0.0) as say:
        say("Nearly there")
    assert capsys.readouterr() == ("", "")
