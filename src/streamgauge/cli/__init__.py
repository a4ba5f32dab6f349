"""The command line: ``streamgauge``.

In come arguments; out go tables for people, JSON or CSV for machines, and an exit status that
names the kind of failure. ``keys``, ``spool`` and ``doctor`` work on files; everything else speaks
HTTP to a server. Results go to stdout, all else to stderr; an expected failure is one line.
"""

from __future__ import annotations

import io
import sys
from typing import Final

from streamgauge.core.errors import MissingExtraError

_EXTRA_MODULES: Final = frozenset({"click", "rich"})


def main() -> int:
    """Run the command that ``sys.argv`` names and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # An id that the terminal's encoding lacks is shown escaped, and ends nothing.
            stream.reconfigure(errors="backslashreplace")
    try:
        from streamgauge.cli.root import run  # noqa: PLC0415 - the extra may be missing
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA_MODULES:
            raise
        print(f"Error: {MissingExtraError('cli', str(error.name))}", file=sys.stderr)
        return 1
    return run(sys.argv[1:])
