"""A directory without a disk: the fallback of an unwritable spool, the ground of simulations."""

from __future__ import annotations

from streamgauge.core.files import Directory, File, Lock, Page


class MemoryFile:
    """A growing byte array."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of ``data`` at ``offset``."""
        if len(self.data) < offset:
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(data)] = data

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``."""
        return bytes(self.data[offset : offset + size])

    def size(self) -> int:
        """Return the length in bytes."""
        return len(self.data)

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        del self.data[size:]

    def sync(self) -> None:
        """Do nothing: there is no disk."""

    def close(self) -> None:
        """Do nothing: there is no descriptor."""


class MemoryPage:
    """A byte array of fixed size."""

    def __init__(self, data: bytearray) -> None:
        self.view = memoryview(data)

    def sync(self) -> None:
        """Do nothing: there is no disk."""

    def close(self) -> None:
        """Do nothing: views handed out stay readable."""


class MemoryLock:
    """A name in a set."""

    def __init__(self, held: set[str], name: str) -> None:
        self._held = held
        self._name = name

    def is_whole(self) -> bool:
        """Return whether it is held."""
        return self._name in self._held

    def release(self) -> None:
        """Give it up."""
        self._held.discard(self._name)


class MemoryDirectory:
    """Files and directories by name."""

    def __init__(self) -> None:
        self.files: dict[str, MemoryFile] = {}
        self.children: dict[str, MemoryDirectory] = {}
        self.held: set[str] = set()

    def names(self) -> list[str]:
        """Return the names in it, sorted."""
        return sorted([*self.files, *self.children])

    def open(self, name: str, *, create: bool = False) -> File:
        """Open a file."""
        if create:
            if name in self.files:
                raise FileExistsError(name)
            self.files[name] = self._new_file()
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name]

    def map(self, name: str, size_bytes: int = 0) -> Page:
        """Map a file."""
        file = self.open(name, create=bool(size_bytes))
        assert isinstance(file, MemoryFile)
        if size_bytes:
            file.data.extend(bytes(size_bytes))
        return MemoryPage(file.data)

    def replace(self, name: str, data: bytes) -> None:
        """Put ``data`` under ``name`` at once."""
        file = self._new_file()
        file.data.extend(data)
        self.files[name] = file

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone is no error."""
        self.files.pop(name, None)

    def sync(self) -> None:
        """Do nothing: there is no disk."""

    def child(self, name: str, *, create: bool = False) -> Directory:
        """Return a directory in it."""
        if name not in self.children:
            if not create:
                raise FileNotFoundError(name)
            self.children[name] = type(self)()
        return self.children[name]

    def remove_child(self, name: str) -> None:
        """Remove an empty directory in it."""
        if name in self.children and self.children[name].names():
            raise OSError(f"{name} is not empty")
        self.children.pop(name, None)

    def free_bytes(self) -> int:
        """Return a number that nobody reaches."""
        return 2**62

    def lock(self, name: str) -> Lock | None:
        """Take the lock of that name."""
        if name in self.held:
            return None
        self.held.add(name)
        return MemoryLock(self.held, name)

    def _new_file(self) -> MemoryFile:
        return MemoryFile()
