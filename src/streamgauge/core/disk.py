"""Files of the operating system: private to our user, never through links."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import stat
import weakref
from pathlib import Path
from typing import Final

from streamgauge.core.errors import ConfigurationError
from streamgauge.core.files import Directory, File, Lock, Page

_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class OsFile:
    """A file of the operating system."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of ``data`` at ``offset``."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, offset)
            offset += written
            view = view[written:]

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``."""
        parts = []
        while size > 0 and (part := os.pread(self._fd, size, offset)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return b"".join(parts)

    def size(self) -> int:
        """Return the length in bytes."""
        return os.fstat(self._fd).st_size

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        """Return when the content is on disk."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Release the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class OsPage:
    """A shared mapping of a file; the descriptor is its own."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        self._map = mmap.mmap(fd, size_bytes)
        self._fd = fd
        self.view = memoryview(self._map)

    def sync(self) -> None:
        """Return when the content is on disk."""
        # As msync does, but other threads run meanwhile: mmap.flush keeps the interpreter's lock.
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Let go of the mapping; views handed out keep it alive until they are dropped."""
        if self._fd < 0:
            return
        os.close(self._fd)
        self._fd = -1
        self.view.release()
        with contextlib.suppress(BufferError):
            self._map.close()


class OsLock:
    """An exclusive flock on a close-on-exec descriptor; a forked child has no part in it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        _LOCKS.add(self)

    def take(self) -> bool:
        """Lock the file without waiting; return whether it was free."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        # Its last holder may have removed it after we had opened it; the name may be another's.
        return self.is_whole()

    def is_whole(self) -> bool:
        """Return whether its file is still in a directory."""
        return self._fd >= 0 and os.fstat(self._fd).st_nlink > 0

    def release(self) -> None:
        """Give it up."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


# A forked child has copies of all descriptors, and with a copy of one the lock would outlive its
# holder. Only the system knows of a fork, whoever's objects they are, so this is of the process.
_LOCKS: Final = weakref.WeakSet[OsLock]()


def _drop_copies() -> None:
    for lock in list(_LOCKS):
        lock.release()


os.register_at_fork(after_in_child=_drop_copies)


class OsDirectory:
    """A directory of ours: mode 0700, our uid, no link.

    Args:
        path: Where it is; made, with its parents, when ``create`` is set.
        create: Make it if it is not there.

    Raises:
        ConfigurationError: It is a link, another user's, or open to others.
        OSError: It cannot be made or opened.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
        try:
            self._fd = os.open(path, _DIRECTORY_FLAGS)
        except OSError as error:
            if path.is_symlink():
                raise ConfigurationError(f"{path} is a link; it must be a directory") from error
            raise
        status = os.fstat(self._fd)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            os.close(self._fd)
            raise ConfigurationError(
                f"{path} belongs to user {status.st_uid} with mode "
                f"{stat.S_IMODE(status.st_mode):04o}; it must be ours with mode 0700"
            )

    def __del__(self) -> None:
        fd = self.__dict__.get("_fd", -1)
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def names(self) -> list[str]:
        """Return the names in it, sorted."""
        return sorted(os.listdir(self._fd))  # noqa: PTH208 - by descriptor, not by path

    def open(self, name: str, *, create: bool = False) -> File:
        """Open a file for reading and writing."""
        flags = _FILE_FLAGS | (os.O_CREAT | os.O_EXCL if create else 0)
        return OsFile(os.open(name, flags, 0o600, dir_fd=self._fd))

    def map(self, name: str, size_bytes: int = 0) -> Page:
        """Map a file; blocks are reserved, since a store to a full disk would be SIGBUS."""
        flags = _FILE_FLAGS | (os.O_CREAT | os.O_EXCL if size_bytes else 0)
        fd = os.open(name, flags, 0o600, dir_fd=self._fd)
        try:
            if size_bytes:
                try:
                    os.posix_fallocate(fd, 0, size_bytes)
                except OSError:
                    os.unlink(name, dir_fd=self._fd)
                    raise
            return OsPage(fd, os.fstat(fd).st_size)
        except BaseException:
            os.close(fd)
            raise

    def replace(self, name: str, data: bytes) -> None:
        """Write beside, sync, rename, sync the directory."""
        beside = f"{name}.new"
        self.remove(beside)
        file = self.open(beside, create=True)
        try:
            file.write_at(0, data)
            file.sync()
        finally:
            file.close()
        os.rename(beside, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        self.sync()

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def sync(self) -> None:
        """Return when creations and removals here are on disk."""
        os.fsync(self._fd)

    def child(self, name: str, *, create: bool = False) -> Directory:
        """Return a directory in it."""
        return OsDirectory(self.path / name, create=create)

    def remove_child(self, name: str) -> None:
        """Remove an empty directory in it."""
        os.rmdir(name, dir_fd=self._fd)

    def free_bytes(self) -> int:
        """Return how many bytes its file system still takes from us."""
        status = os.fstatvfs(self._fd)
        return status.f_bavail * status.f_frsize

    def lock(self, name: str) -> Lock | None:
        """Take an exclusive flock without waiting."""
        fd = os.open(name, _FILE_FLAGS | os.O_CREAT, 0o600, dir_fd=self._fd)
        lock = OsLock(fd)
        if lock.take():
            return lock
        lock.release()
        return None
