"""What kind of file system a path is on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/mounts")
NETWORK: Final = frozenset(
    {"afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "lustre", "nfs", "nfs4", "smb3"}
)
"""Other machines have the same files: locks and mapped pages may not hold between them."""


def file_system_of(path: Path, mounts: str) -> str:
    """Return the type of the file system that holds ``path``, from the text of /proc/mounts."""
    best, found = "", "unknown"
    for row in mounts.splitlines():
        _device, point, kind, *_rest = row.split(" ")
        point = point.encode().decode("unicode_escape")
        holds = point == "/" or f"{path}/".startswith(f"{point}/")
        if holds and len(point) >= len(best):
            best, found = point, kind
    return found


def network_file_system(path: Path, mounts: Path = MOUNTS) -> str | None:
    """Return the type of the network file system that holds ``path``; None: it is on none."""
    try:
        kind = file_system_of(path.resolve(), mounts.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Systems without such a list cannot say.
        return None
    return kind if kind in NETWORK else None
