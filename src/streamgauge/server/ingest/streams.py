"""The streams of a log in JetStream, and what is told beside them.

``events`` has the records in the order that is the truth, ``segments`` where the writer cut it and
which events in between repeat earlier ones, ``mark`` how far the store has it, and ``refused`` what
somebody else published and is no record.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.core.limits import INGEST_LOG_BYTES_MAX, STREAM_READ_BYTES_MAX
from streamgauge.server.ingest.jetstream import CALL_S, JetStream, Message, StreamState
from streamgauge.server.ingest.nats_url import NatsUrl

# A segment's message is smaller than its records, also if every second event is a repeat.
_SEGMENTS_PART: Final = 16
# Of what somebody else published; the oldest go.
_REFUSED_KEPT: Final = 10_000
_MARK_BYTES_MAX: Final = 1024 * 1024
_STALE_WAIT_S: Final = 0.002
_WRITERS_WAIT_S: Final = 0.3
# Subject, headers and the frame of a message.
_FRAME_BYTES: Final = 1_024


class Mark(msgspec.Struct, frozen=True):
    """How far the store has the log.

    Attributes:
        segment: The newest segment in it.
        reach: The sequence of the last record of that.
    """

    segment: int = 0
    reach: int = 0


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """A segment.

    Attributes:
        first: The sequence of its first record.
        last: The sequence of its last record.
        repeats: By record, the events that repeat earlier ones, as first and end of each run.
    """

    first: int
    last: int
    repeats: dict[int, list[tuple[int, int]]]


class Streams(NamedTuple):
    """A log's streams.

    Attributes:
        jetstream: The connection.
        name: What all names begin with.
        bytes_max: How much the log may hold.
        origin: The name that the log got when it was made, as of ``connect``.
    """

    jetstream: JetStream
    name: str
    bytes_max: int = INGEST_LOG_BYTES_MAX
    origin: str = ""

    def become_writer(self) -> None:
        """Tell whoever asks that the writer is here; nobody else may be it.

        Raises:
            ConfigurationError: Somebody is.
            UnavailableError: There is no connection now.
        """
        own = secrets.token_bytes(16)

        async def here(_data: bytes) -> bytes:
            return own

        self.jetstream.answer(self.subject("writer"), here)
        # Of two that start at once each hears the other.
        if set(self.jetstream.ask_all(self.subject("writer"), _WRITERS_WAIT_S)) - {own}:
            raise ConfigurationError(
                f"another writer of the log {self.name} runs; there may be one"
            )

    def ensure(self) -> str:
        """Make what is missing, and return the name that the log got when it was made.

        Raises:
            ConfigurationError: Something of that name is there, and is not ours.
        """
        origins = [
            self.jetstream.ensure_stream(
                self._stream(kind), self.subject(kind), bytes_max=bytes_max, keeps=keeps
            )
            for kind, bytes_max, keeps in (
                ("events", self.bytes_max, -1),
                ("segments", self.bytes_max // _SEGMENTS_PART, -1),
                ("mark", _MARK_BYTES_MAX, 1),
                ("refused", self.bytes_max // _SEGMENTS_PART, _REFUSED_KEPT),
            )
        ]
        return origins[0]

    @property
    def record_bytes_max(self) -> int:
        """Return how large a record may be."""
        return self.jetstream.payload_bytes_max - _FRAME_BYTES

    def subject(self, kind: str) -> str:
        """Return where messages of a kind go."""
        return f"{self.name}.{kind}"

    def state(self, kind: str = "events") -> StreamState:
        """Return how far a stream reaches, by its leader.

        Raises:
            UnavailableError: It has none now.
        """
        return self.jetstream.state(self._stream(kind))

    def publish(self, records: Sequence[tuple[str, bytes]]) -> list[int]:
        """Return the sequences of records, once a quorum has them.

        Raises:
            UnavailableError: Some may not be stored; the same call may be made again.
        """
        return self.jetstream.publish(self.subject("events"), records)

    def read(
        self, kind: str, first: int, last: int, bytes_max: int = STREAM_READ_BYTES_MAX
    ) -> list[Message]:
        """Return messages from ``first`` up to ``last``, which is there, or as many as fit.

        Raises:
            UnavailableError: No replica answers, or none with these messages.
        """
        deadline = time.monotonic() + CALL_S
        found: list[Message] = []
        size = 0
        while first <= last and size < bytes_max:
            got = self.jetstream.read(self._stream(kind), first, bytes_max - size)
            found += (message for message in got if message.sequence <= last)
            if got:
                first = got[-1].sequence + 1
                size += sum(len(message.data) for message in got)
            elif time.monotonic() > deadline:
                raise UnavailableError(f"no replica has message {first} of {kind} yet", 2)
            else:
                # A replica may be a moment behind.
                time.sleep(_STALE_WAIT_S)
        return found

    def mark(self) -> Mark:
        """Return how far the store has the log.

        Raises:
            UnavailableError: The stream cannot be read now.
        """
        last = self.state("mark").last
        if not last:
            return Mark()
        return msgspec.json.decode(self.read("mark", last, last)[-1].data, type=Mark)

    def set_mark(self, mark: Mark) -> None:
        """Note, durably, how far the store has the log; who follows marks hears of it.

        Raises:
            UnavailableError: It may not be noted.
        """
        data = msgspec.json.encode(mark)
        self.jetstream.publish(self.subject("mark"), [(f"{mark.segment}", data)])

    def follow_marks(self, hear: Callable[[Mark], None]) -> None:
        """Call ``hear`` with marks as they are set; some may be missed."""
        self.jetstream.listen(
            self.subject("mark"), lambda data: hear(msgspec.json.decode(data, type=Mark))
        )

    def tell_end(self, last: int, *, hurried: bool = False) -> None:
        """Tell the writer that the stream reaches up to ``last``, and that somebody waits."""
        self.jetstream.tell(self.subject("end"), b"%d %d" % (last, hurried))

    def follow_end(self, hear: Callable[[int, bool], None]) -> None:
        """Call ``hear`` with what ``tell_end`` tells; some may be missed."""

        def heard(data: bytes) -> None:
            last, _, hurried = data.partition(b" ")
            hear(int(last), hurried == b"1")

        self.jetstream.listen(self.subject("end"), heard)

    def refuse(self, message: Message) -> None:
        """Keep what is no record where people find it; twice is once.

        Raises:
            UnavailableError: It may not be kept.
        """
        refused = [(f"{message.sequence}", message.data)]
        self.jetstream.publish(self.subject("refused"), refused)

    def purge(self, kind: str, before: int) -> None:
        """Remove the messages before a sequence.

        Raises:
            UnavailableError: The stream has no leader now.
        """
        self.jetstream.purge(self._stream(kind), before)

    def _stream(self, kind: str) -> str:
        return f"{self.name}_{kind}"


def connect(where: NatsUrl) -> Streams:
    """Return the streams of a log, made if they are not there.

    Raises:
        ConfigurationError: The servers or the streams cannot be used.
    """
    jetstream = JetStream(where.servers, name="streamgauge", replicas=where.options.replicas)
    streams = Streams(jetstream, where.name, where.options.bytes_max)
    try:
        return streams._replace(origin=streams.ensure())
    except BaseException:
        jetstream.close()
        raise
