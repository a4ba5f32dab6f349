"""Tokens of inserts whose rows the engine never kept, since it was killed in between.

The engine in this process writes into a table's deduplication log that it has a part, and only then
gives the part its name. Killed in between, it takes the repeat for one that changes nothing, and
the rows are nowhere. Nothing of a table is merged or inserted from there to the next start, so at a
start an entry whose part is not among the table's directories is such a one. It is taken back in
the log's own form, and then the repeat is inserted.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Final

_log: Final = logging.getLogger("streamgauge.server.store")

_LOGS: Final = "store/*/*/deduplication_logs"
_ADDED: Final = "1"
_DROPPED: Final = "2"
_NUMBER: Final = re.compile(r"deduplication_log_([0-9]+)\.txt")
# Partition, first and last block, level, and the mutation, if any.
_PART: Final = re.compile(r"([^_]+)_([0-9]+)_([0-9]+)_[0-9]+(?:_[0-9]+)?")

Blocks = dict[str, list[tuple[int, int]]]


def take_back(engine_dir: Path) -> list[str]:
    """Take back the tokens of parts that are not there; call it before the engine is opened.

    Args:
        engine_dir: Where the engine keeps its files; it may not be there yet.

    Returns:
        The parts.

    Raises:
        OSError: The disk refuses.
    """
    lost = list[str]()
    for logs in sorted(engine_dir.glob(_LOGS)):
        files = sorted(logs.iterdir(), key=_number)
        entries = _kept("".join(file.read_text() for file in files))
        blocks = _blocks(logs.parent)
        gone = {token: part for token, part in entries.items() if not _is_there(part, blocks)}
        if gone:
            _append(files[-1], gone)
            lost += gone.values()
    if lost:
        _log.warning("the engine was killed within an insert; it forgets the parts %s", lost)
    return lost


def _number(file: Path) -> int:
    found = _NUMBER.fullmatch(file.name)
    return int(found[1]) if found else 0


def _kept(text: str) -> dict[str, str]:
    """Return the parts that the engine believes it has, by token."""
    kept = dict[str, str]()
    # What is after the last line feed was never finished, and the engine does not read it either.
    for line in text.split("\n")[:-1]:
        match line.split("\t"):
            case [operation, part, token] if operation == _ADDED:
                kept[token] = part
            case [operation, _, token] if operation == _DROPPED:
                kept.pop(token, None)
    return kept


def _blocks(table: Path) -> Blocks:
    """Return the ranges of blocks of every partition that have a directory, merged or not."""
    found: Blocks = {}
    for path in table.iterdir():
        if part := _PART.fullmatch(path.name):
            found.setdefault(part[1], []).append((int(part[2]), int(part[3])))
    return found


def _is_there(part: str, blocks: Blocks) -> bool:
    named = _PART.fullmatch(part)
    if named is None:
        return True
    block = int(named[2])
    return any(first <= block <= last for first, last in blocks.get(named[1], ()))


def _append(file: Path, gone: dict[str, str]) -> None:
    lines = [f"{_DROPPED}\t{part}\t{token}\n" for token, part in gone.items()]
    with file.open("rb+") as log:
        whole = log.read().rpartition(b"\n")
        log.truncate(len(whole[0]) + len(whole[1]))
        log.seek(0, os.SEEK_END)
        log.write("".join(lines).encode())
        log.flush()
        os.fsync(log.fileno())
