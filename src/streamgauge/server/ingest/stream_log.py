"""The ingest log in JetStream, as the one writer of a cluster sees it.

A segment is a range of the stream's records. Where it ends, and which of its events repeat earlier
ones, is published before it is inserted, as the message that must follow the last such one: so a
segment is the same whenever it is read, and of two writers only one gets on.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import msgspec

from streamgauge.core.errors import CorruptError, UnavailableError
from streamgauge.core.limits import INGEST_SEGMENT_BYTES_MAX
from streamgauge.server.ingest import rows
from streamgauge.server.ingest.decode import Scope
from streamgauge.server.ingest.jetstream import Message, OutOfTurnError
from streamgauge.server.ingest.keeper import Keeper
from streamgauge.server.ingest.streams import Mark, Segment, Streams

_log: Final = logging.getLogger("streamgauge.server.ingest")
STREAMS_KEEP: Final = "the streams of the log, until the store has some more segments"
_ALL: Final = [(0, 2**31)]
_PUBLISHED_AT_ONCE: Final = 256


class Judge(Protocol):
    """Tells which events of records repeat earlier ones, in the order of the stream."""

    def repeats(self, record: bytes) -> list[tuple[int, int]]:
        """Return runs of repeats in the next record, as first and end; its ids are known then."""
        ...

    def sealed(self, segment: int, size: int) -> None:
        """Note that everything judged so far is in segments up to ``segment``, durably.

        Args:
            segment: The newest.
            size: Bytes of its records.
        """
        ...


class ByKnownIds:
    """Judges by the known ids of ``keeper``, which nobody else adds to."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def repeats(self, record: bytes) -> list[tuple[int, int]]:
        """Return runs of repeats in the next record, as first and end; its ids are known then."""
        head, event_ids = rows.head_and_ids(record)
        known = self._keeper.known
        keys = known.keys(Scope(head.business_id, head.mode), event_ids)
        repeats = known.known(keys)
        known.add(keys.where([not each for each in repeats]))
        return rows.spans(repeats)

    def sealed(self, segment: int, size: int) -> None:
        """Note that everything judged so far is in segments up to ``segment``, durably."""
        self._keeper.settled(segment + 1, size)


class StreamLog:
    """A log in ``streams``; ``judge`` says which events are repeats.

    Args:
        streams: Where the log is.
        judge: It has judged every sealed segment and nothing after, once something is sealed.
        segment_bytes_max: When a segment is full.

    Raises:
        ConfigurationError: The streams are not ours.
        CorruptError: A message is not what was published.
        UnavailableError: They cannot be read now.
    """

    def __init__(
        self, streams: Streams, judge: Judge, *, segment_bytes_max: int = INGEST_SEGMENT_BYTES_MAX
    ) -> None:
        self._streams = streams
        self._judge = judge
        self._segment_bytes_max = segment_bytes_max
        streams.ensure()
        self._instance = secrets.token_hex(8)
        self._appended: list[tuple[str, bytes]] = []
        self._appended_count = 0
        self._damage: list[str] = []
        self._mark = streams.mark()
        self._segments = self._read_segments()
        self._unsent: tuple[Segment, list[Message]] | None = None
        self._newest: tuple[int, list[bytes]] = (0, [])
        state = self._events = streams.state()
        self._reach = max(
            self._mark.reach, state.first - 1, *(cut.last for cut in self._segments.values())
        )
        self._last = state.last

    @property
    def record_bytes_max(self) -> int:
        """Return how large a record may be."""
        return self._streams.record_bytes_max

    def append(self, record: bytes) -> int:
        """Append one batch of rows, and return how many were appended since the start."""
        self._appended_count += 1
        self._appended.append((f"{self._instance}-{self._appended_count}", record))
        return self._appended_count

    def sync(self) -> None:
        """Return when a quorum has everything appended."""
        while batch := self._appended[:_PUBLISHED_AT_ONCE]:
            self.told(max(self._streams.publish(batch)))
            del self._appended[: len(batch)]

    def told(self, last: int) -> None:
        """Take note, from any thread, that the stream reaches up to ``last``."""
        self._last = max(self._last, last)

    def refresh(self) -> None:
        """Ask the stream how far it reaches."""
        self._events = self._streams.state()
        self.told(self._events.last)

    def newest(self) -> int:
        """Return the newest segment with something safe in it, 0 for none."""
        return self._number + (self._last > self._reach)

    def next_segment(self) -> int:
        """Return the number of the next segment that is sealed."""
        return self._number + 1

    def seal(self) -> None:
        """Make a segment of what came since the last one, or of as much as one may hold."""
        if self._last <= self._reach:
            return
        if self._unsent is None:
            self._unsent = self._cut()
        cut, messages = self._unsent
        number = self._publish(cut)
        self._unsent = None
        self._segments[number] = cut
        self._number, self._reach = number, cut.last
        self._newest = (number, list(_records(cut, messages)))
        self._judge.sealed(number, sum(len(message.data) for message in messages))

    def sealed(self) -> list[int]:
        """Return the segments that will never change again, oldest first."""
        return list(self._segments)

    def read(self, segment: int) -> Iterator[bytes]:
        """Yield the records of a segment, without repeats."""
        number, records = self._newest
        if number == segment:
            yield from records
            return
        cut = self._segments[segment]
        first = cut.first
        while first <= cut.last:
            messages = self._streams.read("events", first, cut.last)
            if messages[0].sequence != first:
                raise CorruptError("events", first, "the stream no longer has this message")
            yield from _records(cut, messages)
            first = messages[-1].sequence + 1

    def remove(self, segment: int) -> None:
        """Remove a sealed segment, and what is before it."""
        cut = self._segments[segment]
        # The other order would leave a segment without its records.
        self._streams.purge("segments", segment + 1)
        self._streams.purge("events", cut.last + 1)
        del self._segments[segment]

    def rewrite(self, _through: int, _change: Callable[[bytes], bytes]) -> list[str]:
        """Return that streams keep their messages as they are, until they are removed."""
        return [STREAMS_KEEP]

    def size_bytes(self) -> int:
        """Return the bytes of the stream, as of the last ``refresh``."""
        return self._events.size_bytes

    def free_bytes(self) -> int:
        """Return how many bytes more the stream takes, as of the last ``refresh``."""
        return self._events.bytes_max - self._events.size_bytes

    def mark(self) -> int:
        """Return the newest segment noted as inserted, 0 for none."""
        return self._mark.segment

    def set_mark(self, segment: int) -> None:
        """Note, durably, that everything up to ``segment`` is inserted."""
        mark = Mark(segment, self._segments[segment].last)
        self._streams.set_mark(mark)
        self._mark = mark

    def damage(self) -> list[str]:
        """Return what the stream lost."""
        return list(self._damage)

    def close(self) -> None:
        """Nothing is held; the connection has its own owner."""

    def _read_segments(self) -> dict[int, Segment]:
        state = self._streams.state("segments")
        self._number = state.last
        messages = []
        first = state.first
        while first <= state.last:
            messages += self._streams.read("segments", first, state.last)
            first = messages[-1].sequence + 1
        return {message.sequence: _decoded(message) for message in messages}

    def _cut(self) -> tuple[Segment, list[Message]]:
        """Return the next segment and its records, judged."""
        first = self._reach + 1
        messages = self._streams.read("events", first, self._last, self._segment_bytes_max)
        if messages[0].sequence != first:
            text = f"messages {first} to {messages[0].sequence - 1} of the stream are gone"
            self._damage.append(text)
            first = messages[0].sequence
        judged = ((message.sequence, self._judged(message)) for message in messages)
        repeats = {sequence: spans for sequence, spans in judged if spans}
        return Segment(first, messages[-1].sequence, repeats), messages

    def _judged(self, message: Message) -> list[tuple[int, int]]:
        try:
            return self._judge.repeats(message.data)
        except ValueError as error:
            text = f"message {message.sequence} of the stream is no record, see refused: {error}"
        self._streams.refuse(message)
        self._damage.append(text)
        _log.error("%s", text)
        return _ALL

    def _publish(self, cut: Segment) -> int:
        data = msgspec.msgpack.encode(cut)
        subject = self._streams.subject("segments")
        try:
            return self._streams.jetstream.publish_after(subject, data, self._number)
        except OutOfTurnError:
            # It may be this very message, of a try whose answer was lost.
            number = self._number + 1
            (there,) = self._streams.read("segments", number, number)
            if there.data == data:
                return number
            raise UnavailableError(
                f"another writer has made segment {number}; only one may run, so stop this one", 30
            ) from None


def _records(cut: Segment, messages: list[Message]) -> Iterator[bytes]:
    for message in messages:
        spans = cut.repeats.get(message.sequence)
        if spans != _ALL:
            yield rows.without(message.data, spans) if spans else message.data


def _decoded(message: Message) -> Segment:
    try:
        return msgspec.msgpack.decode(message.data, type=Segment)
    except msgspec.DecodeError as error:
        raise CorruptError("segments", message.sequence, str(error)) from error
