"""Server processes that are forked from one which has imported the server: a start costs half."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType

from streamgauge.server.config import load
from streamgauge.server.run import serve

Serving = Callable[[Path, Callable[[str], None]], None]

_NURSERY = multiprocessing.get_context("forkserver")
_NURSERY.set_forkserver_preload(["tests.nursery", "tests.e2e.dying_server"])


class Life:
    """A server process, from its start to its end.

    Args:
        serving: Serves on a data directory, and says its address when it is ready.
        data_dir: That directory.
        log: What the process writes to stderr is added to this file.
        environ: Variables to set.

    Attributes:
        url: Its address; empty if it died before it was ready.
    """

    def __init__(
        self, serving: Serving, data_dir: Path, log: Path, environ: Mapping[str, str]
    ) -> None:
        said, says = _NURSERY.Pipe(duplex=False)
        self._process = _NURSERY.Process(
            target=_live, args=(serving, data_dir, log, dict(environ), says)
        )
        self._process.start()
        says.close()
        try:
            self.url: str = said.recv()
        except EOFError:
            self.url = ""
        finally:
            said.close()

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def end(self, number: signal.Signals) -> int:
        """Send a signal, if it lives; return the exit status, or the signal as -number."""
        assert self._process.pid is not None
        if self._process.is_alive():
            # It may die by itself meanwhile.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)
        self._process.join(60)
        assert self._process.exitcode is not None, "it must end in a minute"
        return self._process.exitcode


def serve_plainly(
    data_dir: Path, ready: Callable[[str], None], flags: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Serve as ``python -m streamgauge.server`` does, with ``flags`` of the configuration."""
    given = {"data_dir": data_dir, "listen.port": 0, **flags}
    config = load(file=None, environ=os.environ, flags=given)
    serve(config, lambda running: ready(running.url))


def _live(
    serving: Serving, data_dir: Path, log: Path, environ: dict[str, str], says: Connection
) -> None:
    with log.open("a") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.update(environ)
    serving(data_dir, says.send)
