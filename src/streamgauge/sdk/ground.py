"""What an engine stands on: a directory, a clock, entropy."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from streamgauge.core.clock import Clock
from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import ConfigurationError
from streamgauge.core.files import Directory
from streamgauge.core.ids import Entropy
from streamgauge.core.limits import TALLY_PAGE_BYTES
from streamgauge.core.memory import MemoryDirectory
from streamgauge.core.mounts import network_file_system
from streamgauge.sdk.notices import Notices
from streamgauge.sdk.spooldir import default_spool_dir
from streamgauge.sdk.stats import Durability


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine stands on; tests hand in their own.

    Attributes:
        root: Where spools are.
        durability: What that is made of.
        clock: Says what time it is.
        entropy: Gives ids.
        page_bytes: Size of a tally page.
    """

    root: Directory
    durability: Durability
    clock: Clock
    entropy: Entropy = os.urandom
    page_bytes: int = TALLY_PAGE_BYTES


def open_ground(spool_dir: Path | None, clock: Clock, notices: Notices) -> Ground:
    """Return ground on disk, or in memory if the directory cannot be made.

    Args:
        spool_dir: The directory; None: the one of environment or user.
        clock: Says what time it is.
        notices: Told why it is in memory.

    Raises:
        ConfigurationError: The directory is a link, another user's, open to others, or on a network
            file system.
    """
    try:
        path = spool_dir or default_spool_dir()
        root = OsDirectory(path, create=True)
    except OSError as error:
        return memory_ground(clock, notices, error)
    if kind := network_file_system(path):
        raise ConfigurationError(
            f"the spool {path} is on a network file system ({kind}), where locks and mapped pages "
            "do not hold between machines; spool_dir must be on a local disk"
        )
    return Ground(root=root, durability=Durability.DISK, clock=clock)


def memory_ground(clock: Clock, notices: Notices, error: OSError) -> Ground:
    """Return ground in memory, with one warning that says why."""
    notices.tell("memory", f"the spool is in memory only, it ends with the process: {error}")
    return Ground(root=MemoryDirectory(), durability=Durability.MEMORY, clock=clock)
