"""How events get from here to the store: alone, by a log on disk, or through a cluster's log."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from streamgauge.core.clock import Clock
from streamgauge.core.errors import ConfigurationError, MissingExtraError
from streamgauge.core.files import Directory
from streamgauge.core.limits import UNCOVERED_RECORDS_MAX
from streamgauge.server.ingest.event_path import EventPath
from streamgauge.server.ingest.keeper import Keeper
from streamgauge.server.ingest.nats_url import parse
from streamgauge.server.ingest.origin import check_no_stream, check_stream
from streamgauge.server.ingest.pipeline import Pipeline
from streamgauge.server.ingest.quarantine import Quarantine
from streamgauge.server.ingest.wal import Wal
from streamgauge.server.layout import IDS, IDS_FOLLOWED, LOG, QUARANTINE
from streamgauge.server.store import EventStore

if TYPE_CHECKING:
    from streamgauge.server.ingest.streams import Streams

_log: Final = logging.getLogger("streamgauge.server")


class Surroundings(NamedTuple):
    """What a path is opened with.

    Attributes:
        directory: The server's; it is locked.
        path: Where that is.
        store: Where events end.
        clock: Where time comes from.
        fill: Called on the loop when a rollup was planned for another process.
        stack: Closes what is opened.
    """

    directory: Directory
    path: Path
    store: EventStore
    clock: Clock
    fill: Callable[[], Awaitable[None]]
    stack: contextlib.ExitStack

    def keeper(self, name: str, *, segments_max: int | None = None) -> Keeper:
        """Return what keeps known ids in a directory."""
        directory = self.directory.child(name, create=True)
        keeper = (
            Keeper(directory)
            if segments_max is None
            else Keeper(directory, segments_max=segments_max)
        )
        self.stack.callback(keeper.close)
        for damage in keeper.damage:
            _log.error("the known ids are damaged and are read again from the store: %s", damage)
        return keeper

    def quarantine(self) -> Quarantine:
        """Return what keeps rows that the store will never take."""
        return Quarantine(self.directory.child(QUARANTINE, create=True))


def alone(around: Surroundings) -> EventPath:
    """Return the path of a server that keeps its log on its own disk.

    Raises:
        ConfigurationError: The directory's log is in NATS.
        CorruptError: The log's note of what is inserted cannot be read.
        OSError: The log cannot be opened.
    """
    check_no_stream(around.path)
    log = Wal(around.directory.child(LOG, create=True))
    around.stack.callback(log.close)
    for damage in log.damage():
        _log.error("the ingest log is damaged, see %s/quarantine: %s", LOG, damage)
    if log.torn_bytes:
        _log.warning(
            "%d bytes were cut from the ingest log's end: a write that was not finished",
            log.torn_bytes,
        )
    keeper = around.keeper(IDS)
    return Pipeline(log, around.store, keeper, around.quarantine(), clock=around.clock)


def join(url: str, path: Path, stack: contextlib.ExitStack, *, writes: bool) -> Streams:
    """Return a cluster's log, as this process's; call it before the store is opened.

    Args:
        url: As ``nats_url.parse`` takes it.
        path: The server's directory; it is locked.
        stack: Closes the connection.
        writes: Whether this process brings events to the store; one does that.

    Raises:
        ConfigurationError: The servers or the streams cannot be used, the directory belongs to
            another log, or another process writes.
        MissingExtraError: The extra ``cluster`` is not installed.
    """
    try:
        from streamgauge.server.ingest import streams  # noqa: PLC0415 - the extra may be missing
    except ModuleNotFoundError as error:
        raise MissingExtraError("cluster", str(error.name)) from error
    if (path / LOG).exists():
        raise ConfigurationError(
            f"{path} has an ingest log of its own, in {LOG}; a log in NATS needs a data directory "
            "of its own too"
        )
    opened = streams.connect(parse(url))
    stack.callback(opened.jetstream.close)
    check_stream(path, opened.origin)
    if writes:
        opened.become_writer()
    return opened


def in_cluster(streams: Streams, around: Surroundings, *, accepts: bool, writes: bool) -> EventPath:
    """Return the path of a process that shares its log with others.

    Args:
        streams: Where the log is.
        around: What it is opened with.
        accepts: Whether events are taken here.
        writes: Whether they are brought to the store here.

    Raises:
        CorruptError: A message of the streams is not what was published.
        UnavailableError: The streams cannot be read now.
    """
    from streamgauge.server.ingest.cluster import (  # noqa: PLC0415 - the extra may be missing
        ClusterPath,
        Writing,
    )
    from streamgauge.server.ingest.entrance import Entrance  # noqa: PLC0415 - as above
    from streamgauge.server.ingest.stream_log import (  # noqa: PLC0415 - as above
        ByKnownIds,
        StreamLog,
    )

    entrance = writing = None
    if writes:
        keeper = around.keeper(IDS)
        log = StreamLog(streams, ByKnownIds(keeper))
        around.stack.callback(log.close)
        pipeline = Pipeline(
            log, around.store, keeper, around.quarantine(), accepts=False, clock=around.clock
        )
        writing = Writing(pipeline, log)
    if accepts:
        keeper = around.keeper(IDS_FOLLOWED, segments_max=UNCOVERED_RECORDS_MAX)
        entrance = Entrance(streams, keeper, around.store)
    return ClusterPath(streams, entrance, writing, around.fill, clock=around.clock)
