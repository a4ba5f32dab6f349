"""Tokens of inserts whose rows the engine never kept, since it was killed in between.

The engine in this process writes into a table's deduplication log that it has a part, and only then
gives the part its name. Killed in between, it takes the repeat for one that changes nothing, and
the rows are nowhere. Nothing of a table is merged or inserted from there to the next start, so at a
start an entry whose part is not among the table's directories is such a one. It is taken back in
the log's own form, and then the repeat is inserted. Only the end of a log is looked at: a log keeps
up to a million entries, and what may be inserted again is among the last few thousand.
"""

from __future__ import annotations

import bisect
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_log: Final = logging.getLogger("streamgauge.server.store")

_LOGS: Final = "store/*/*/deduplication_logs"
_ADDED: Final = "1"
_DROPPED: Final = "2"
# Some 17,000 entries: more inserts than the engine remembers of events.
_END_BYTES: Final = 1024 * 1024
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
        entries = _kept(_end(files))
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


def _end(files: Sequence[Path]) -> str:
    """Return the last entries of a log that is in several files, the first of them perhaps cut."""
    end = b""
    for path in reversed(files):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _END_BYTES + len(end)))
            end = file.read() + end
        if len(end) >= _END_BYTES:
            break
    return end.decode()


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
    """Return the blocks of every partition that have a directory, as ranges apart, in order."""
    found: Blocks = {}
    parts = filter(None, (_PART.fullmatch(path.name) for path in table.iterdir()))
    for first, last, partition in sorted((int(one[2]), int(one[3]), one[1]) for one in parts):
        ranges = found.setdefault(partition, [])
        if ranges and first <= ranges[-1][1]:
            # Of a merge, what it was made of is there for a while, too.
            ranges[-1] = (ranges[-1][0], max(last, ranges[-1][1]))
        else:
            ranges.append((first, last))
    return found


def _is_there(part: str, blocks: Blocks) -> bool:
    named = _PART.fullmatch(part)
    if named is None:
        return True
    ranges, block = blocks.get(named[1], []), int(named[2])
    place = bisect.bisect_right(ranges, block, key=lambda each: each[0])
    return place > 0 and block <= ranges[place - 1][1]


def _append(file: Path, gone: dict[str, str]) -> None:
    lines = [f"{_DROPPED}\t{part}\t{token}\n" for token, part in gone.items()]
    with file.open("rb+") as log:
        whole = log.read().rpartition(b"\n")
        log.truncate(len(whole[0]) + len(whole[1]))
        log.seek(0, os.SEEK_END)
        log.write("".join(lines).encode())
        log.flush()
        os.fsync(log.fileno())
