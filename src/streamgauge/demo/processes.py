"""Child processes that never outlive the demo, each in a process group of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

LIFELINE_FD_VARIABLE: Final = "STREAMGAUGE_DEMO_LIFELINE_FD"
GRACE_S: Final = 10.0
_ORPHANED: Final = 70


class Processes:
    """Starts children and ends all of them, whatever happens; use it as an async context manager.

    Python children also hold a lifeline: a pipe that closes when this process dies in any way.
    """

    def __init__(self) -> None:
        self._children: list[asyncio.subprocess.Process] = []
        self._lifeline, self._held = os.pipe()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.end_all()
        os.close(self._held)
        os.close(self._lifeline)

    async def python(
        self,
        module: str,
        *arguments: str,
        environment: dict[str, str] | None = None,
        descriptors: Sequence[int] = (),
        log: Path,
    ) -> asyncio.subprocess.Process:
        """Start ``python -m module`` with its words appended to ``log``."""
        variables = {
            **os.environ,
            **(environment or {}),
            LIFELINE_FD_VARIABLE: str(self._lifeline),
        }
        with log.open("ab") as words:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module, *arguments),
                env=variables,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                pass_fds=(self._lifeline, *descriptors),
                start_new_session=True,
            )
        self._children.append(child)
        return child

    async def program(self, *command: str, log: Path) -> asyncio.subprocess.Process:
        """Start any other program, with its words appended to ``log``."""
        with log.open("ab") as words:
            child = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                start_new_session=True,
            )
        self._children.append(child)
        return child

    async def end_all(self) -> None:
        """End every child that still runs: politely, then by force."""
        await asyncio.gather(*(end(child) for child in reversed(self._children)))
        self._children.clear()


async def end(child: asyncio.subprocess.Process, grace_s: float = GRACE_S) -> None:
    """Terminate a child's group; kill what is left of it after its end, or after ``grace_s``."""
    if child.returncode is not None:
        return
    _signal_group(child.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            await child.wait()
    await kill(child)


async def kill(child: asyncio.subprocess.Process) -> None:
    """Kill a child's group with SIGKILL and wait for its death."""
    _signal_group(child.pid, signal.SIGKILL)
    await child.wait()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def end_with_parent() -> None:
    """In a child: end this process when the demo is gone, however it went."""
    lifeline = os.environ.pop(LIFELINE_FD_VARIABLE, None)
    if lifeline is None:
        return

    def watch() -> None:
        os.read(int(lifeline), 1)
        os._exit(_ORPHANED)

    threading.Thread(target=watch, name="streamgauge-demo-lifeline", daemon=True).start()
