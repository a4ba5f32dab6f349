"""Keeps the known ids on disk: a snapshot now and then, on a thread of its own.

What the snapshot lacks is in the ingest log, whose segments stay until a snapshot covers them. The
thread also merges files of digests, step by step, so that a large merge holds up no snapshot.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

from streamgauge.core.backoff import Backoff
from streamgauge.core.files import Directory
from streamgauge.core.limits import (
    KNOWN_IDS_RECENT_MAX,
    UNCOVERED_BYTES_MAX,
    UNCOVERED_SEGMENTS_MAX,
)
from streamgauge.server.ingest import digests
from streamgauge.server.ingest.dedupe import WriterKey
from streamgauge.server.ingest.digests import DigestFile
from streamgauge.server.ingest.snapshot import Snapshot, SnapshotFiles

_log: Final = logging.getLogger("streamgauge.server.ingest")


class _Changes(NamedTuple):
    digests: set[bytes]
    writers: dict[WriterKey, bytes]
    covers: int


class _Merging(NamedTuple):
    name: str
    files: list[DigestFile]
    steps: Iterator[DigestFile | None]


class Keeper:
    """The known ids in ``directory``; whoever owns it holds a lock.

    Args:
        directory: The ids' own.
        segments_max: How many segments may be without a snapshot.
        backoff: How long to wait after a failed write.

    Attributes:
        known: The ids, up to segment ``covered``; what the log has behind it is to be added.
        covered: The last segment of the ingest log whose ids are on disk here.
        damage: What was found broken; then ``covered`` is 0, and all is to be added again.
        trouble: Why no snapshot can be written, None if it can.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        segments_max: int = UNCOVERED_SEGMENTS_MAX,
        backoff: Backoff | None = None,
    ) -> None:
        self._segments_max = segments_max
        self._files = SnapshotFiles(directory)
        self._backoff = backoff or Backoff(0.2, 15.0)
        self._changed = threading.Condition()
        self._changes: _Changes | None = None
        self._merging: _Merging | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="streamgauge-ids", daemon=True)
        self._uncovered_bytes = 0
        self.trouble: str | None = None
        loaded = self._files.load()
        self._open, self._writers, self._runs = loaded.files, loaded.writers, loaded.snapshot.runs
        self.known, self.damage = loaded.known, loaded.damage
        self.covered = loaded.snapshot.covers

    def settled(self, newest: int, size: int) -> None:
        """Note that ids of the log were added; starts a snapshot when it is time for one.

        Args:
            newest: Segment with the last of them; all before it are settled.
            size: Bytes they took in the log.
        """
        self._uncovered_bytes += size
        if self._changes is None and (
            self.known.foreign.recent_size >= KNOWN_IDS_RECENT_MAX
            or self._uncovered_bytes >= UNCOVERED_BYTES_MAX
            or newest - 1 - self.covered >= self._segments_max
        ):
            changes = self._freeze(newest - 1)
            with self._changed:
                self._changes = changes
                self._changed.notify()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Write what is under way, stop the thread, and return whether it ended in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def spill(self) -> None:
        """Write what memory holds if that is much; for who adds all ids before ``start``."""
        if self.known.foreign.recent_size >= KNOWN_IDS_RECENT_MAX:
            self.save(self.covered)

    def save(self, covers: int) -> None:
        """Write everything now, on this thread; only while no other one is started.

        What the disk refuses is written later.
        """
        changes = self._changes = self._changes or self._freeze(covers)
        try:
            self._write(changes)
            while self._merge():
                pass
        except OSError as error:
            self._failed(error)

    def close(self) -> None:
        """Let go of the files."""
        self.known.foreign.close()

    def _freeze(self, covers: int) -> _Changes:
        self._uncovered_bytes = 0
        return _Changes(self.known.foreign.freeze(), self.known.changes(), covers)

    def _run(self) -> None:
        busy = True
        while True:
            with self._changed:
                while not (busy or self._changes or self._stopping):
                    self._changed.wait()
                changes = self._changes
                if self._stopping and changes is None:
                    return
            try:
                busy = self._merge() if changes is None else self._write(changes)
            except OSError as error:
                self._failed(error)
                with self._changed:
                    if self._changed.wait_for(lambda: self._stopping, self._backoff.next_s()):
                        return
            else:
                self.trouble = None
                self._backoff.reset()

    def _failed(self, error: OSError) -> None:
        self.trouble = f"the known ids cannot be written: {error}"
        _log.warning("%s", self.trouble)

    def _write(self, changes: _Changes) -> bool:
        """Write a snapshot with ``changes``; return True, since files may want merging."""
        file = None
        if changes.digests:
            name = self._files.new_name("digests")
            file = digests.write(self._files.directory, name, b"".join(changes.digests))
        try:
            self._writers |= changes.writers
            if changes.writers:
                self._runs = self._files.write_runs(self._writers)
            self._put([*self._open, file] if file else self._open, changes.covers)
        except BaseException:
            if file:
                file.close()
            raise
        if file:
            self.known.foreign.bring(file, [])
        with self._changed:
            self._changes = None
        return True

    def _merge(self) -> bool:
        """Do a step of a merge; return whether there may be more to do."""
        if self._merging is None:
            files = _worth_merging(self._open)
            if not files:
                return False
            name = self._files.new_name("digests")
            steps = digests.merge(self._files.directory, name, files)
            self._merging = _Merging(name, files, steps)
        try:
            if merged := next(self._merging.steps):
                replaced, self._merging = self._merging.files, None
                self._put([*(f for f in self._open if f not in replaced), merged], self.covered)
                self.known.foreign.bring(merged, replaced)
        except BaseException:
            self._merging = None
            raise
        return True

    def _put(self, files: list[DigestFile], covers: int) -> None:
        snapshot = Snapshot(
            covers=covers,
            digests=[file.name for file in files],
            runs=self._runs,
            scopes=self.known.scopes(),
        )
        self._files.put(snapshot, unfinished=self._merging.name if self._merging else "")
        self._open, self.covered = files, covers


def _worth_merging(files: list[DigestFile]) -> list[DigestFile]:
    """Return the files from the largest on that the smaller ones outgrow together.

    So every file is at least as large as all smaller ones together: there are few, and a digest is
    written again only as often as the set doubles.
    """
    by_size = sorted(files, key=lambda file: file.size, reverse=True)
    for place, file in enumerate(by_size):
        if file.size < sum(smaller.size for smaller in by_size[place + 1 :]):
            return by_size[place:]
    return []
