"""Checks of a directory that keeps what must not be lost: a data directory or a spool."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from streamgauge.cli.findings import Finding, failed, ok, warning
from streamgauge.core.clock import NS_PER_S
from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import ConfigurationError
from streamgauge.core.mounts import MOUNTS, NETWORK, file_system_of
from streamgauge.core.units import ByteUnit, format_bytes

# A full day of a busy server's log; the engine needs room to merge as well.
_FREE_FEW_BYTES: Final = 5 * ByteUnit.GB.bytes
_FREE_FAILING_BYTES: Final = ByteUnit.GB.bytes
_BLOCK_BYTES: Final = 4_096
_SYNCS: Final = 25
# Drives with a capacitor answer in some 20 microseconds; only memory is faster than this.
_SYNC_NS_HONEST: Final = 8_000
# Files there are not locked or synced as ours must be.
_REMOTE: Final = NETWORK | {"9p", "vboxsf", "virtiofs"}
_VOLATILE: Final = frozenset({"tmpfs", "ramfs"})


def directory_findings(path: Path, name: str) -> Iterator[Finding]:
    """Yield how the directory stands; nothing is left in it."""
    try:
        OsDirectory(path)
    except FileNotFoundError:
        yield failed(name, f"{path} is not there")
        return
    except (ConfigurationError, OSError) as error:
        yield failed(name, str(error))
        return
    yield ok(name, f"{path}, ours, mode 0700")
    yield _file_system(path, name)
    yield _free(path, name)
    yield _sync(path, name)


def sync_finding(name: str, median_ns: int) -> Finding:
    """Return whether syncs that take ``median_ns`` can have reached a disk."""
    took = f"fdatasync takes {median_ns / NS_PER_S * 1_000:.3f} ms"
    if median_ns < _SYNC_NS_HONEST:
        return warning(
            f"{name}: sync",
            f"{took}, faster than any disk: a loss of power may take what was acknowledged",
        )
    return ok(f"{name}: sync", took)


def _file_system(path: Path, name: str) -> Finding:
    check = f"{name}: file system"
    try:
        mounts = MOUNTS.read_text(encoding="utf-8")
    except OSError:
        return warning(check, "unknown: this system has no /proc/mounts")
    kind = file_system_of(path.resolve(), mounts)
    if kind in _REMOTE:
        return failed(check, f"{kind}: locks and syncs are not to be trusted; use a local disk")
    if kind in _VOLATILE:
        return warning(check, f"{kind}: it is in memory, and gone with the power")
    return ok(check, kind)


def _free(path: Path, name: str) -> Finding:
    check = f"{name}: free"
    free = shutil.disk_usage(path).free
    text = f"{format_bytes(free)} free"
    if free < _FREE_FAILING_BYTES:
        return failed(check, f"{text}; at least {format_bytes(_FREE_FAILING_BYTES)} is needed")
    if free < _FREE_FEW_BYTES:
        return warning(check, f"{text}; below {format_bytes(_FREE_FEW_BYTES)}")
    return ok(check, text)


def _sync(path: Path, name: str) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            return sync_finding(name, _median_sync_ns(file.fileno()))
    except OSError as error:
        return failed(f"{name}: sync", f"cannot write and sync: {error.strerror}")


def _median_sync_ns(fd: int) -> int:
    took = []
    for number in range(_SYNCS):
        os.pwrite(fd, bytes([number]) * _BLOCK_BYTES, number * _BLOCK_BYTES)
        begun = time.perf_counter_ns()
        os.fdatasync(fd)
        took.append(time.perf_counter_ns() - begun)
    return int(statistics.median(took))
