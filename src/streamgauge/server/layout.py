"""What lies where in a data directory."""

from __future__ import annotations

from typing import Final

from streamgauge.server.catalog import FILE_NAME as CATALOG
from streamgauge.server.catalog.secret import FILE_NAME as SECRET

__all__ = [
    "BACKUPS",
    "BACKUP_LOCK",
    "CATALOG",
    "ENGINE",
    "IDS",
    "IDS_FOLLOWED",
    "LOCK",
    "LOG",
    "QUARANTINE",
    "RESTORING",
    "SECRET",
]

LOCK: Final = "server.lock"
ENGINE: Final = "engine"
LOG: Final = "log"
IDS: Final = "ids"
IDS_FOLLOWED: Final = "ids-followed"
QUARANTINE: Final = "quarantine"
BACKUPS: Final = "backups"
"""Holds what a running backup copies, by hard links."""
BACKUP_LOCK: Final = "backup.lock"
"""Held by whoever copies."""
RESTORING: Final = "restoring"
"""Here from the first to the last step of a restore; no server opens such a directory."""
