"""What lies where in a data directory: names alone, so that commands know them without a server."""

from __future__ import annotations

from typing import Final

CATALOG: Final = "catalog.sqlite"
ELSEWHERE: Final = "catalog.elsewhere"
"""Beside the catalog's place: names the database that has this directory's catalog instead."""
SECRET: Final = "secret"  # noqa: S105 - the name of its file
ORIGIN: Final = "log.origin"
ADMIN_SOCKET: Final = "admin.sock"
ADDRESS: Final = "server.url"
"""Holds the base URL while a server runs, for whoever has the directory but not the port."""
LOCK: Final = "server.lock"
ENGINE: Final = "engine"
LOG: Final = "log"
IDS: Final = "ids"
IDS_FOLLOWED: Final = "ids-followed"
QUARANTINE: Final = "quarantine"
ARCHIVE: Final = "archive"
"""Holds raw events that are older than retention keeps in the engine, in Parquet."""
BACKUPS: Final = "backups"
"""Holds what a running backup copies, by hard links."""
BACKUP_LOCK: Final = "backup.lock"
"""Held by whoever copies."""
RESTORING: Final = "restoring"
"""Here from the first to the last step of a restore; no server opens such a directory."""
