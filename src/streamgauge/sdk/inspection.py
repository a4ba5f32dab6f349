"""Spools read and checked, nothing changed: what waits in them, and whether they are whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import CorruptError, StreamgaugeError
from streamgauge.core.files import Directory
from streamgauge.sdk.election import is_role_file, read_term, role_name
from streamgauge.sdk.identity import (
    DEAD_LETTERS_NAME,
    HELD_NAME,
    LOCK_NAME,
    Checkpoint,
    Destination,
    Settled,
    read_checkpoint,
    read_identity,
)
from streamgauge.sdk.page import PREFIX, SUFFIX, TallyPage
from streamgauge.sdk.reader import read_records
from streamgauge.sdk.records import DeadLetter, SpooledEvent, decode_event, decode_letter
from streamgauge.sdk.spool import Billed


class SpoolReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one directory of a spool directory holds.

    Attributes:
        name: Its name: the writer id, if it is a spool.
        destination: Where its events go; None: it does not say.
        alive: Whether its process is.
        delivers: Whether its process delivers, for all spools of its destination.
        settled: What sinks have answered since it was made.
        pending_events: Events that wait for the sink.
        pending_bytes: As above, in bytes.
        open_bytes: Bytes counted in pages that are in no event yet.
        oldest_ns: When the oldest waiting event was spooled.
        refused: Events that no sink took, each once.
        problems: What is damaged or does not add up, in words.
    """

    name: str
    destination: Destination | None = None
    alive: bool = False
    delivers: bool = False
    settled: Settled = Settled()
    pending_events: int = 0
    pending_bytes: int = 0
    open_bytes: int = 0
    oldest_ns: int | None = None
    refused: tuple[DeadLetter, ...] = ()
    problems: tuple[str, ...] = ()


def inspect_spools(spool_dir: Path) -> Iterator[SpoolReport]:
    """Yield a report of everything in ``spool_dir``, also of live spools.

    Raises:
        ConfigurationError: The directory is a link, another user's, or open to others.
        OSError: It cannot be read.
    """
    root = OsDirectory(spool_dir)
    for name in root.names():
        if is_role_file(name):
            continue
        try:
            yield _report(root, root.child(name), name)
        except (FileNotFoundError, NotADirectoryError):
            yield SpoolReport(name=name, problems=("it is no spool",))
        except (StreamgaugeError, OSError) as error:
            yield SpoolReport(name=name, problems=(str(error),))


def _report(root: Directory, directory: Directory, name: str) -> SpoolReport:
    identity = read_identity(directory)
    checkpoint = read_checkpoint(directory)
    events, problems = _events(directory)
    waiting = [event for event in events if event.number > checkpoint.delivered]
    problems += _checked_events(events, checkpoint)
    if identity.writer_id != name:
        problems.append(f"it says that it is {identity.writer_id}")
    billed: Billed = {}
    for source in (source for event in events for source in event.sources):
        key = (source.page_id, source.slot)
        billed[key] = max(billed.get(key, 0), source.end)
    alive = _is_alive(directory)
    term = read_term(root, role_name(identity.destination))
    open_bytes, damages = _open_bytes(directory, billed)
    return SpoolReport(
        name=name,
        destination=identity.destination,
        alive=alive,
        delivers=alive and term is not None and term.writer_id == name,
        settled=checkpoint.settled,
        pending_events=len(waiting),
        pending_bytes=sum(event.quantity or 0 for event in waiting),
        open_bytes=open_bytes,
        oldest_ns=min((event.spooled_at_ns for event in waiting), default=None),
        refused=_refused(directory),
        problems=tuple(problems + damages),
    )


def _is_alive(directory: Directory) -> bool:
    lock = directory.lock(LOCK_NAME)
    if lock is None:
        return True
    lock.release()
    return False


def _events(directory: Directory) -> tuple[list[SpooledEvent], list[str]]:
    events: list[SpooledEvent] = []
    problems: list[str] = []
    for found in read_records(directory):
        if isinstance(found, CorruptError):
            problems.append(str(found))
        else:
            events.append(decode_event(found))
    return events, problems


def _checked_events(events: list[SpooledEvent], checkpoint: Checkpoint) -> list[str]:
    """Return what does not add up: numbers, quantities, or a stretch that is billed twice."""
    problems: list[str] = []
    ends: Billed = {}
    last = 0
    for event in events:
        if last and event.number != last + 1:
            problems.append(f"event {event.number} follows event {last}")
        last = event.number
        stretches = sum(source.end - source.start for source in event.sources)
        if event.sources and stretches != event.quantity:
            problems.append(f"event {event.event_id} bills {event.quantity} of {stretches} bytes")
        for source in event.sources:
            key = (source.page_id, source.slot)
            if source.start < ends.get(key, 0):
                problems.append(f"event {event.event_id} bills a stretch again")
            ends[key] = source.end
    if events and last < checkpoint.delivered:
        problems.append(f"event {checkpoint.delivered} was delivered, the newest is {last}")
    return problems


def _open_bytes(directory: Directory, billed: Billed) -> tuple[int, list[str]]:
    total = 0
    problems: list[str] = []
    for name in directory.names():
        if not (name.startswith(PREFIX) and name.endswith(SUFFIX)):
            continue
        try:
            with contextlib.closing(TallyPage(directory.map(name), name)) as page:
                for slot in page.slots():
                    if isinstance(slot, CorruptError):
                        problems.append(str(slot))
                        continue
                    known = max(slot.base, billed.get((page.page_id, slot.index), 0))
                    total += max(0, slot.count - known)
        except (CorruptError, OSError, ValueError) as error:
            problems.append(str(error))
    return total, problems


def _refused(directory: Directory) -> tuple[DeadLetter, ...]:
    letters: dict[str, DeadLetter] = {}
    for name in (DEAD_LETTERS_NAME, HELD_NAME):
        with contextlib.suppress(FileNotFoundError):
            for found in read_records(directory.child(name)):
                if isinstance(found, bytes):
                    letter = decode_letter(found)
                    letters[letter.event.event_id] = letter
    return tuple(letters.values())
