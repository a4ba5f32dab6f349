"""Both logs, the one on disk and the one in JetStream, do what ingest asks of a log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamgauge.core.errors import UnavailableError
from streamgauge.core.memory import MemoryDirectory
from streamgauge.server.ingest.jetstream import JetStream
from streamgauge.server.ingest.log import IngestLog
from streamgauge.server.ingest.stream_log import StreamLog
from streamgauge.server.ingest.streams import Streams
from streamgauge.server.ingest.wal import Wal

pytestmark = pytest.mark.cluster


class NoRepeats:
    """Judges that nothing is a repeat."""

    def repeats(self, _record: bytes) -> list[tuple[int, int]]:
        return []

    def sealed(self, segment: int, size: int) -> None:
        """Nothing is kept."""


@pytest.fixture(params=["disk", "JetStream"])
def open_log(request: pytest.FixtureRequest) -> Callable[..., IngestLog]:
    """Return what opens one and the same log, again and again."""
    if request.param == "disk":
        directory = MemoryDirectory()
        return lambda **options: Wal(directory, **options)
    streams: Any = request.getfixturevalue("streams")
    return lambda **options: StreamLog(streams, NoRepeats(), **options)


def filled(log: IngestLog, *segments: list[bytes]) -> IngestLog:
    for records in segments:
        for record in records:
            log.append(record)
        log.sync()
        log.seal()
    return log


def test_sealed_segments_are_read_back_whole_and_in_order(
    open_log: Callable[[], IngestLog],
) -> None:
    filled(open_log(), [b"a", b"b"], [b"c"]).close()
    log = open_log()
    assert log.sealed() == [1, 2]
    assert [list(log.read(segment)) for segment in log.sealed()] == [[b"a", b"b"], [b"c"]]
    assert log.newest() == 2


def test_the_newest_segment_counts_only_what_is_safe(open_log: Callable[[], IngestLog]) -> None:
    log = open_log()
    assert log.newest() == 0
    log.append(b"a")
    assert log.newest() == 0
    log.sync()
    assert (log.newest(), log.sealed()) == (1, [])
    log.seal()
    assert (log.newest(), log.sealed()) == (1, [1])
    log.seal()
    assert (log.newest(), log.sealed()) == (1, [1])
    assert log.next_segment() == 2


def test_records_have_numbers_of_their_own(open_log: Callable[[], IngestLog]) -> None:
    log = open_log()
    assert len({log.append(b"a") for _ in range(5)}) == 5


def test_what_was_safe_and_not_sealed_is_there_after_a_restart(
    open_log: Callable[[], IngestLog],
) -> None:
    log = filled(open_log(), [b"a"])
    log.append(b"b")
    log.append(b"c")
    log.sync()
    log.close()
    again = open_log()
    assert again.newest() == 2
    again.seal()
    assert [record for each in again.sealed() for record in again.read(each)] == [b"a", b"b", b"c"]


def test_the_mark_survives_a_restart(open_log: Callable[[], IngestLog]) -> None:
    log = filled(open_log(), [b"a"], [b"b"])
    assert log.mark() == 0
    log.set_mark(1)
    log.set_mark(2)
    log.close()
    assert open_log().mark() == 2


def test_numbering_goes_on_after_everything_was_removed(open_log: Callable[[], IngestLog]) -> None:
    log = filled(open_log(), [b"a"], [b"b"])
    log.remove(1)
    assert log.sealed() == [2]
    log.remove(2)
    log.close()
    again = filled(open_log(), [b"c"])
    assert again.newest() > 2
    assert [record for each in again.sealed() for record in again.read(each)] == [b"c"]


def test_a_removal_that_failed_is_made_again(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = filled(StreamLog(streams, NoRepeats()), [b"a"], [b"b"])
    purge = JetStream.purge

    def refused(self: JetStream, stream: str, before: int) -> None:
        if stream.endswith("events"):
            raise UnavailableError("the stream has no leader")
        purge(self, stream, before)

    with monkeypatch.context() as patch:
        patch.setattr(JetStream, "purge", refused)
        for _ in range(2):
            with pytest.raises(UnavailableError, match="no leader"):
                log.remove(1)
            # Whoever asks what may be inserted again must hear of it.
            assert log.sealed() == [1, 2]
    log.remove(1)
    assert (log.sealed(), streams.state().first) == ([2], 2)


def test_a_full_segment_is_followed_by_the_next(open_log: Callable[..., IngestLog]) -> None:
    log = open_log(segment_bytes_max=1_000)
    records = [b"%d" % place * 300 for place in range(9)]
    for record in records:
        log.append(record)
        log.sync()
    for _ in records:
        log.seal()
    assert len(log.sealed()) > 1
    assert [record for each in log.sealed() for record in log.read(each)] == records


def test_size_and_room_are_told(open_log: Callable[[], IngestLog]) -> None:
    filled(open_log(), [b"a" * 10_000]).close()
    log = open_log()
    assert 10_000 <= log.size_bytes() < 20_000
    assert log.free_bytes() > 1_000_000
    assert log.record_bytes_max > 1_000_000
