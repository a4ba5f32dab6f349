from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamgauge.demo.processes import LIFELINE_FD_VARIABLE, Processes, end

STUBBORN = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('ready', flush=True)\n"
    "time.sleep(600)\n"
)
WITH_CHILD = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(600)\n"
)
WATCHER = (
    "import time\n"
    "from streamgauge.demo.processes import end_with_parent\n"
    "end_with_parent()\n"
    "print('ready', flush=True)\n"
    "time.sleep(600)\n"
)


async def first_line(log: Path) -> str:
    await asyncio.to_thread(wait_until, lambda: log.exists() and b"\n" in log.read_bytes())
    return log.read_text().splitlines()[0]  # noqa: ASYNC240 - a few bytes


def wait_until(holds: Callable[[], bool]) -> None:
    patience = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < patience
        time.sleep(0.01)


def test_a_child_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    async def scene() -> int | None:
        async with Processes() as processes:
            log = tmp_path / "log"
            child = await processes.program(sys.executable, "-c", STUBBORN, log=log)
            await first_line(log)
            await end(child, grace_s=0.01)
            return child.returncode

    assert asyncio.run(scene()) == -signal.SIGKILL


def test_leaving_ends_children_and_their_children_also_after_an_error(tmp_path: Path) -> None:
    grandchild = 0

    async def scene() -> None:
        nonlocal grandchild
        async with Processes() as processes:
            log = tmp_path / "log"
            await processes.program(sys.executable, "-c", WITH_CHILD, log=log)
            grandchild = int(await first_line(log))
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(scene())
    wait_until(lambda: not runs(grandchild))


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_child_ends_when_the_demo_dies_in_any_way() -> None:
    lifeline, held = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", WATCHER],
        pass_fds=(lifeline,),
        stdout=subprocess.PIPE,
        env={**os.environ, LIFELINE_FD_VARIABLE: str(lifeline)},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        os.close(lifeline)
        os.close(held)
        assert child.wait(20) == 70
