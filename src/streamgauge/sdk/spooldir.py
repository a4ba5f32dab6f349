"""Spool directories: made, adopted from processes that are gone, and removed when empty."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path
from typing import Final

from streamgauge.core.clock import Clock
from streamgauge.core.errors import ConfigurationError, LockedError
from streamgauge.core.files import Directory
from streamgauge.core.ids import Entropy, new_writer_id
from streamgauge.sdk.identity import (
    CHECKPOINT_NAME,
    DEAD_LETTERS_NAME,
    HELD_NAME,
    IDENTITY_NAME,
    LOCK_NAME,
    Destination,
    read_identity,
    write_identity,
)
from streamgauge.sdk.recovery import page_names
from streamgauge.sdk.spool import Spool

SPOOL_DIR_VARIABLE: Final = "STREAMGAUGE_SPOOL_DIR"
WRITER_ID: Final = re.compile(r"[0-9a-f]{32}")
_OURS: Final = re.compile(
    r"journal-[0-9]{16}\.seg|(?:checkpoint|spool\.json)(?:\.new)?|reserve|released|lock"
)
_LAST_TO_LEAVE: Final = (CHECKPOINT_NAME, IDENTITY_NAME, LOCK_NAME)
_REMAINS: Final = frozenset({LOCK_NAME, f"{IDENTITY_NAME}.new"})
_ATTEMPTS: Final = 5


class ForeignSpoolError(ConfigurationError):
    """A spool that is not ours to bill."""


def default_spool_dir(environ: dict[str, str] | os._Environ[str] = os.environ) -> Path:
    """Return where spools are unless the caller says: by environment, else the user's state.

    Raises:
        FileNotFoundError: The user has no home directory.
    """
    if given := environ.get(SPOOL_DIR_VARIABLE):
        return Path(given)
    state = environ.get("XDG_STATE_HOME", "")
    try:
        home = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    except RuntimeError:
        hint = f"the user has no home directory; set {SPOOL_DIR_VARIABLE}"
        raise FileNotFoundError(errno.ENOENT, hint) from None
    return home / "streamgauge" / "spool"


def create_spool(
    root: Directory, destination: Destination, *, clock: Clock, entropy: Entropy, bytes_max: int
) -> Spool:
    """Return a new spool with a writer id of its own, locked.

    Raises:
        OSError: The directory or the disk refuses.
    """
    for _ in range(_ATTEMPTS):
        writer_id = new_writer_id(entropy)
        # A process that tidies up may take the directory away until it is locked, also before it is
        # opened.
        with contextlib.suppress(FileNotFoundError):
            directory = root.child(writer_id, create=True)
            lock = directory.lock(LOCK_NAME)
            if lock is not None:
                identity = write_identity(directory, writer_id, destination)
                root.sync()
                spool = Spool(directory, lock, identity, clock=clock, bytes_max=bytes_max)
                spool.publish()
                spool.reserve.hold()
                return spool
    raise OSError("no spool directory stays in place")


def open_spool(
    root: Directory, name: str, destination: Destination | None, *, clock: Clock
) -> Spool:
    """Return the spool of a process that is gone, locked.

    Args:
        root: Where spools are.
        name: Its writer id.
        destination: The only one it may have; None: any.
        clock: Given to the spool.

    Raises:
        LockedError: Its process is alive.
        FileNotFoundError: It does not say whose it is, or is gone.
        ForeignSpoolError: Its events go elsewhere, or it was moved here.
        ConfigurationError: It is another user's, a link, or of a newer version.
        CorruptError: It cannot be read.
        OSError: As above, says the system.
    """
    directory = root.child(name)
    identity = read_identity(directory)
    if identity.writer_id != name:
        raise ForeignSpoolError(f"it says that it is {identity.writer_id}")
    if destination is not None and identity.destination != destination:
        address, mode = identity.destination.address, identity.destination.mode
        raise ForeignSpoolError(f"its events go to {address} in {mode}")
    lock = directory.lock(LOCK_NAME)
    if lock is None:
        raise LockedError(f"the process of spool {name} is alive")
    try:
        return Spool(directory, lock, identity, clock=clock)
    except BaseException:
        lock.release()
        raise


def discard_spool(root: Directory, spool: Spool) -> bool:
    """Close a spool and remove it if nothing in it is wanted: no event, page, damage or letter.

    Returns:
        Whether it is gone.
    """
    directory, name = spool.directory, spool.identity.writer_id
    names = directory.names()
    kept = (
        {DEAD_LETTERS_NAME, HELD_NAME} & {*names}
        or page_names(spool)
        or spool.journal.recovery.corrupt
    )
    if kept or not spool.idle:
        spool.close()
        return False
    spool.journal.close()
    leaving = [name for name in directory.names() if _OURS.fullmatch(name)]
    with contextlib.suppress(OSError):
        for leaver in leaving:
            if leaver not in _LAST_TO_LEAVE:
                directory.remove(leaver)
        directory.sync()
        for leaver in _LAST_TO_LEAVE:
            directory.remove(leaver)
        root.remove_child(name)
    spool.close()
    return True


def tidy_remains(root: Directory, name: str) -> None:
    """Remove what a creation or removal that was cut short has left: a free lock, no identity.

    Raises:
        LockedError: Its process is alive, and about to make or remove the rest.
        ForeignSpoolError: It holds something else.
    """
    directory = root.child(name)
    names = directory.names()
    if names and LOCK_NAME not in names:
        raise _without_identity(names)
    lock = directory.lock(LOCK_NAME)
    if lock is None:
        raise LockedError(f"the process of spool {name} is alive")
    try:
        names = directory.names()
        if IDENTITY_NAME in names:
            return
        if set(names) - _REMAINS:
            raise _without_identity(names)
        directory.remove(f"{IDENTITY_NAME}.new")
        directory.remove(LOCK_NAME)
        with contextlib.suppress(OSError):
            root.remove_child(name)
    finally:
        lock.release()


def _without_identity(names: list[str]) -> ForeignSpoolError:
    strange = min(set(names) - {LOCK_NAME})
    return ForeignSpoolError(f"it has {strange!r} but no {IDENTITY_NAME}")
