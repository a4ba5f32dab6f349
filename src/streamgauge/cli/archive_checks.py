"""Checks of archived events: every byte of their files is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from streamgauge.cli.findings import Finding, failed, ok, warning
from streamgauge.core.errors import ConfigurationError, CorruptError
from streamgauge.core.units import format_bytes
from streamgauge.server import archived as states
from streamgauge.server.archived import Archived
from streamgauge.server.layout import ARCHIVE

_CHECK: Final = "data: archive"


def archive_findings(data_dir: Path) -> Iterator[Finding]:
    """Yield how the archive of a data directory stands; nothing if there is none."""
    directory = data_dir / ARCHIVE
    if not directory.is_dir():
        return
    try:
        state, damaged = _looked_at(directory)
        left = states.leftovers(directory, state)
    except (ConfigurationError, CorruptError, OSError) as error:
        yield failed(_CHECK, f"{directory} cannot be read: {error}")
        return
    if damaged:
        yield failed(
            _CHECK, f"missing or damaged, take them from a backup: {', '.join(sorted(damaged))}"
        )
    else:
        size = format_bytes(state.size_bytes)
        yield ok(_CHECK, f"{state.rows:,} events in {len(state.files)} files, {size}, all sound")
    if left:
        names = ", ".join(path.name for path in left)
        yield warning(
            _CHECK, f"being written, or left by an interruption and removed by the server: {names}"
        )


def _looked_at(directory: Path) -> tuple[Archived, list[str]]:
    """Return a state and its damaged files; a running server may change it meanwhile."""
    while True:
        state = states.read(directory)
        damaged = [file.name for file in states.damaged(directory, state)]
        if not damaged or states.read(directory) == state:
            return state, damaged
