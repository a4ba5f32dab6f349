"""The matrix of docs/reference/servers.md, read from where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

LAYERS: Final = ("payload", "http", "tls", "wire")
_PAGE: Final = Path(__file__).parents[2] / "docs/reference/servers.md"
_FIRST: Final = "| server | payload |"


class Said(NamedTuple):
    """What the page says of a server."""

    how: dict[str, str]
    version: str
    tests: tuple[str, ...]


def matrix() -> dict[str, Said]:
    lines = _PAGE.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(_FIRST))
    rows: dict[str, Said] = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return rows
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        tests = tuple(cells[5].replace("`", "").replace(",", "").split())
        rows[name] = Said(dict(zip(LAYERS, cells, strict=False)), cells[4], tests)
    return rows
