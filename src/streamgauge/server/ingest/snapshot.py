"""The known ids on disk: what files there are, what they cover, and whether they are whole.

``key`` makes digests of ids, ``digests-N`` hold them, ``runs-N`` the intervals of writers, and
``snapshot`` names those in force and the last segment of the ingest log that they cover. The
segments behind it are the rest of the set, so the log keeps them.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import zlib
from collections.abc import Mapping
from typing import Final

import msgspec

from streamgauge.core.errors import CorruptError
from streamgauge.core.files import Directory, read_all
from streamgauge.server.ingest import digests
from streamgauge.server.ingest.decode import Scope
from streamgauge.server.ingest.dedupe import DIGEST_BYTES, KnownIds, WriterKey
from streamgauge.server.ingest.digests import DigestFile, DigestIndex

_KEY: Final = "key"
_KEY_BYTES: Final = 32
_SNAPSHOT: Final = "snapshot"
_NUMBERED: Final = re.compile(r"(?:digests|runs)-([0-9]{1,16})")


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force.

    Attributes:
        covers: Every id of the ingest log up to this segment is here; 0 is none.
        digests: Names of the files of digests.
        runs: Name of the file of intervals; empty for none.
        scopes: Whose ids there are.
    """

    covers: int = 0
    digests: list[str] = msgspec.field(default_factory=list)
    runs: str = ""
    scopes: list[Scope] = msgspec.field(default_factory=list)


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a directory held.

    Attributes:
        known: The ids.
        files: The open files among them.
        writers: The packed intervals among them.
        snapshot: What was in force; ``covers`` is 0 where something was lost.
        damage: What was found broken.
    """

    known: KnownIds
    files: list[DigestFile]
    writers: dict[WriterKey, bytes]
    snapshot: Snapshot
    damage: list[str]


class SnapshotFiles:
    """The files of a snapshot in ``directory``; nothing else is there."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        numbers = [int(match[1]) for match in map(_NUMBERED.fullmatch, directory.names()) if match]
        self._next = max(numbers, default=0) + 1

    def key(self) -> tuple[bytes, bool]:
        """Return the secret that digests are made with, and whether it had to be made anew."""
        key = self._content(_KEY) if _KEY in self.directory.names() else b""
        if len(key) == _KEY_BYTES:
            return key, False
        self.directory.replace(_KEY, secrets.token_bytes(_KEY_BYTES))
        return self._content(_KEY), True

    def new_name(self, kind: str) -> str:
        """Return a name that no file had since the start, such as ``digests-7``."""
        self._next += 1
        return f"{kind}-{self._next - 1}"

    def names(self, kind: str) -> list[str]:
        """Return the files of a kind, in force or not, oldest first."""
        found = [name for name in self.directory.names() if name.startswith(f"{kind}-")]
        return sorted(found, key=lambda name: int(name.rpartition("-")[2]))

    def read(self) -> Snapshot:
        """Return what is in force; nothing where nothing was written yet.

        Raises:
            CorruptError: It cannot be read.
        """
        if _SNAPSHOT not in self.directory.names():
            return Snapshot()
        try:
            return msgspec.json.decode(self._checked(_SNAPSHOT), type=Snapshot)
        except msgspec.DecodeError as error:
            raise CorruptError(_SNAPSHOT, 0, str(error)) from error

    def put(self, snapshot: Snapshot, *, unfinished: str = "") -> None:
        """Put a snapshot in force, durably, and remove files it does not name.

        Args:
            snapshot: What is in force from now on.
            unfinished: The name of a file that is still being written.
        """
        self._replace(_SNAPSHOT, msgspec.json.encode(snapshot))
        kept = {*snapshot.digests, snapshot.runs, unfinished}
        for name in self.directory.names():
            if _NUMBERED.fullmatch(name) and name not in kept:
                self.directory.remove(name)

    def read_runs(self, name: str) -> dict[WriterKey, bytes]:
        """Return the packed intervals of every writer.

        Raises:
            CorruptError: It cannot be read.
            FileNotFoundError: It is not there.
        """
        rows = msgspec.msgpack.decode(self._checked(name), type=list[tuple[str, str, str, bytes]])
        return {(Scope(business, mode), writer): packed for business, mode, writer, packed in rows}

    def write_runs(self, writers: Mapping[WriterKey, bytes]) -> str:
        """Return the name of a new file with these intervals."""
        name = self.new_name("runs")
        rows = [(*scope, writer_id, packed) for (scope, writer_id), packed in writers.items()]
        self._replace(name, msgspec.msgpack.encode(rows))
        return name

    def load(self) -> Loaded:
        """Return every id that can be read, also of what is damaged."""
        damage: list[str] = []
        try:
            snapshot = self.read()
        except CorruptError as error:
            damage.append(str(error))
            # Files that no snapshot names hold ids too: too many are better than too few.
            runs = self.names("runs")[-1:]
            snapshot = Snapshot(digests=self.names("digests"), runs="".join(runs))
        key, is_new = self.key()
        if is_new and snapshot.digests:
            damage.append(f"{_KEY} is lost, and with it what {', '.join(snapshot.digests)} hold")
            snapshot = msgspec.structs.replace(snapshot, digests=[])
        files, salvaged = self._open(snapshot.digests, damage)
        known = KnownIds(key, DigestIndex(files))
        known.foreign.add(salvaged)
        writers: dict[WriterKey, bytes] = {}
        try:
            writers = self.read_runs(snapshot.runs) if snapshot.runs else {}
        except (CorruptError, FileNotFoundError) as error:
            damage.append(str(error))
        known.restore(snapshot.scopes, writers)
        if damage:
            snapshot = msgspec.structs.replace(snapshot, covers=0)
        return Loaded(known=known, files=files, writers=writers, snapshot=snapshot, damage=damage)

    def _open(self, names: list[str], damage: list[str]) -> tuple[list[DigestFile], set[bytes]]:
        """Return the whole files, and the digests of the others."""
        files, salvaged = [], set[bytes]()
        for name in names:
            try:
                files.append(digests.read(self.directory, name))
            except FileNotFoundError:
                damage.append(f"{name} is gone")
            except CorruptError as error:
                damage.append(str(error))
                found = digests.salvage(self.directory, name)
                starts = range(0, len(found), DIGEST_BYTES)
                salvaged |= {found[at : at + DIGEST_BYTES] for at in starts}
        return files, salvaged

    def _replace(self, name: str, data: bytes) -> None:
        self.directory.replace(name, b"%08x\n%b" % (zlib.crc32(data), data))

    def _checked(self, name: str) -> bytes:
        head, _, data = self._content(name).partition(b"\n")
        if head != b"%08x" % zlib.crc32(data):
            raise CorruptError(name, 0, "the checksum does not match")
        return data

    def _content(self, name: str) -> bytes:
        with contextlib.closing(self.directory.open(name)) as file:
            return read_all(file)
