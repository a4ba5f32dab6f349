"""The few things we ask of a file system, so that tests can crash it at every step.

``core.disk`` has the real one, ``core.memory`` one without a disk.
"""

from __future__ import annotations

from typing import Protocol

from streamgauge.core.errors import LockedError


class File(Protocol):
    """An open file."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of ``data`` at ``offset``; survives the process when it returns."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``."""
        ...

    def size(self) -> int:
        """Return the length in bytes."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        ...

    def sync(self) -> None:
        """Return when the content is on disk."""
        ...

    def close(self) -> None:
        """Release the file; twice is once."""
        ...


class Page(Protocol):
    """A mapped file of fixed size: a store into it survives the process at once."""

    view: memoryview
    """The bytes, writable."""

    def sync(self) -> None:
        """Return when the content is on disk."""
        ...

    def close(self) -> None:
        """Let go of the mapping; views handed out stay readable until dropped."""
        ...


class Lock(Protocol):
    """A held lock; its holder is alive exactly as long as it is held."""

    def is_whole(self) -> bool:
        """Return whether it still keeps others out: its file was not removed under it."""
        ...

    def release(self) -> None:
        """Give it up; twice is once."""
        ...


class Directory(Protocol):
    """A directory."""

    def names(self) -> list[str]:
        """Return the names in it, sorted."""
        ...

    def open(self, name: str, *, create: bool = False) -> File:
        """Open a file for reading and writing; ``create`` demands that it is new.

        Raises:
            FileNotFoundError: It is not there, and ``create`` is false.
            FileExistsError: It is there, and ``create`` is true.
        """
        ...

    def map(self, name: str, size_bytes: int = 0) -> Page:
        """Map a file; ``size_bytes`` above 0 makes it new, with its blocks reserved."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Put ``data`` under ``name`` at once and durably: the old or the new is seen."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone is no error."""
        ...

    def sync(self) -> None:
        """Return when creations and removals here are on disk."""
        ...

    def child(self, name: str, *, create: bool = False) -> Directory:
        """Return a directory in it, made private if it is not there and ``create`` is set."""
        ...

    def remove_child(self, name: str) -> None:
        """Remove an empty directory in it."""
        ...

    def free_bytes(self) -> int:
        """Return how many bytes its file system still takes from us."""
        ...

    def lock(self, name: str) -> Lock | None:
        """Take the lock of that name without waiting, or return None if it is held."""
        ...


def read_all(file: File) -> bytes:
    """Return the whole content of ``file``."""
    return file.read_at(0, file.size())


def hold(directory: Directory, name: str, what: str) -> Lock:
    """Take a lock or say who is in the way.

    Raises:
        LockedError: Another process holds it.
    """
    lock = directory.lock(name)
    if lock is None:
        raise LockedError(f"{what} is already open in another process")
    return lock
