"""Refused events put back to be sent again, once what they were refused for is mended."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from streamgauge.core.clock import Clock, SystemClock
from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import LockedError, StreamgaugeError
from streamgauge.core.files import Directory
from streamgauge.sdk.dead_letters import DeadLetters
from streamgauge.sdk.election import is_role_file, role_name
from streamgauge.sdk.identity import DEAD_LETTERS_NAME, HELD_NAME
from streamgauge.sdk.records import DeadLetter, encode_record
from streamgauge.sdk.spool import Spool
from streamgauge.sdk.spooldir import open_spool


class Requeued(msgspec.Struct, frozen=True, kw_only=True):
    """What was put back.

    Attributes:
        events: Events that wait again.
        bytes: As above, in bytes.
        alive: Spools with refused events that a live process has or delivers: they were left as
            they are.
        problems: Spools that could not be opened, and why.
    """

    events: int
    bytes: int
    alive: tuple[str, ...]
    problems: tuple[str, ...]


def requeue_letters(spool_dir: Path, *, clock: Clock | None = None) -> Requeued:
    """Let the refused events of spools whose process is gone wait again, under their ids.

    A crash in between leaves both, the letter and the event, which is billed once for its id.

    Raises:
        ConfigurationError: The directory is a link, another user's, or open to others.
        OSError: It cannot be read.
    """
    root = OsDirectory(spool_dir)
    events = size = 0
    alive: list[str] = []
    problems: list[str] = []
    for name in root.names():
        if is_role_file(name):
            continue
        try:
            if not {DEAD_LETTERS_NAME, HELD_NAME} & {*root.child(name).names()}:
                continue
            spool = open_spool(root, name, None, clock=clock or SystemClock())
        except LockedError:
            alive.append(name)
            continue
        except (StreamgaugeError, OSError) as error:
            problems.append(f"{name}: {error}")
            continue
        with contextlib.closing(spool):
            role = role_name(spool.identity.destination)
            # Whoever delivers may be at its last batch of a process that died just now.
            lock = root.lock(role)
            if lock is None:
                alive.append(name)
                continue
            try:
                letters = _put_back(spool)
            finally:
                root.remove(role)
                lock.release()
        events += len(letters)
        size += sum(letter.event.quantity or 0 for letter in letters)
    return Requeued(events=events, bytes=size, alive=tuple(alive), problems=tuple(problems))


def _put_back(spool: Spool) -> list[DeadLetter]:
    kept = {name for name in (DEAD_LETTERS_NAME, HELD_NAME) if name in spool.directory.names()}
    letters: dict[str, DeadLetter] = {}
    for name in kept:
        with contextlib.closing(DeadLetters(spool.directory, name)) as found:
            letters |= {letter.event.event_id: letter for letter in found.read()}
    for number, letter in enumerate(letters.values(), spool.number + 1):
        # Under a number of its own, and billing no stretch a second time.
        event = msgspec.structs.replace(letter.event, number=number, sequence=0, sources=())
        spool.journal.append(encode_record(event))
    spool.sync()
    for name in kept:
        _remove_tree(spool.directory, name)
    return [*letters.values()]


def _remove_tree(directory: Directory, name: str) -> None:
    child = directory.child(name)
    for each in child.names():
        child.remove(each)
    child.sync()
    directory.remove_child(name)
    directory.sync()
