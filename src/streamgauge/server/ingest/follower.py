"""The ingest log in JetStream, as one of many that accept events sees it.

What counts is the order of the stream, so a process answers only after its own records have come
back to it in that order, with those of all others before them: every process knows the same ids
at the same place, and none has to ask another.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from streamgauge.server.ingest import rows
from streamgauge.server.ingest.commit import Commit
from streamgauge.server.ingest.decode import Scope
from streamgauge.server.ingest.jetstream import Message
from streamgauge.server.ingest.keeper import Keeper
from streamgauge.server.ingest.streams import Streams

_log: Final = logging.getLogger("streamgauge.server.ingest")
_PUBLISHED_AT_ONCE: Final = 256


class OnLoop(Protocol):
    """Calls something where the known ids are used, at once or soon, in order."""

    def __call__(self, call: Callable[..., None], *values: object) -> None:
        """Call ``call(*values)`` there."""
        ...


class Followed(NamedTuple):
    """A record of the stream, with what is needed of it.

    Attributes:
        number: Ours for it; 0 if another process published it.
    """

    sequence: int
    number: int
    scope: Scope
    event_ids: list[str]
    size: int


class Follower:
    """Publishes records and follows the stream.

    Args:
        streams: Where the log is.
        keeper: Keeps the ids of everything up to a record of the stream; its segments are those.
        learn_stored: Called where records left the stream before this process read them, by then
            stored; passes calls that make the ids of the store known to what it is given.

    Raises:
        ConfigurationError: The streams are not ours.
        UnavailableError: They cannot be read now.
    """

    def __init__(
        self, streams: Streams, keeper: Keeper, learn_stored: Callable[[OnLoop], None]
    ) -> None:
        streams.ensure()
        self._learn_stored = learn_stored
        self._streams = streams
        self._keeper = keeper
        self._instance = secrets.token_hex(8)
        self._following = threading.Lock()
        self._appended: dict[int, bytes] = {}
        self._appended_count = 0
        self._outcomes: dict[int, list[bool]] = {}
        self._seen: set[int] = set()
        self._events = streams.state()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.followed = keeper.covered

    @property
    def record_bytes_max(self) -> int:
        """Return how large a record may be."""
        return self._streams.record_bytes_max

    @property
    def is_ahead(self) -> bool:
        """Return whether more is known than the stream ever held."""
        return self.followed > self._events.last

    def recover(self) -> int:
        """Follow the stream to its end, on this thread, before ``start``.

        Returns:
            How many events were read.

        Raises:
            UnavailableError: The stream cannot be read now.
        """
        events = 0
        self._pass_over(self._events.first)
        while self.followed < self._events.last:
            for each in self._next(self._events.last):
                events += len(each.event_ids)
                self._learn(each)
                self._keeper.spill()
        return events

    def start(self) -> None:
        """Hand over, from now on, what is followed, to the running loop."""
        self._loop = asyncio.get_running_loop()

    def append(self, record: bytes) -> int:
        """Take one batch of rows, and return its number."""
        self._appended_count += 1
        self._appended[self._appended_count] = record
        return self._appended_count

    def sync(self) -> None:
        """Return when a quorum has everything appended, and it has come back in order.

        Raises:
            UnavailableError: That is not so yet; the next call tries again.
        """
        while numbers := list(self._appended)[:_PUBLISHED_AT_ONCE]:
            records = [(self._id(number), self._appended[number]) for number in numbers]
            last = max(self._streams.publish(records))
            self._streams.tell_end(last)
            self.follow(last)
            with self._following:
                for number in numbers:
                    del self._appended[number]
                    self._seen.discard(number)

    def follow(self, last: int) -> None:
        """Return when everything up to ``last``, which is there, is handed to the loop.

        Raises:
            UnavailableError: It cannot be read now, or no longer.
        """
        with self._following:
            while self.followed < last:
                followed = self._next(last)
                self._on_loop(self._learn_all, followed)

    def refresh(self) -> None:
        """Follow the stream to its end.

        Raises:
            UnavailableError: It cannot be read now.
        """
        self._events = self._streams.state()
        with self._following:
            self._pass_over(self._events.first)
        self.follow(self._events.last)

    def outcome(self, commit: Commit) -> list[bool]:
        """Return, on the loop, which ids of a batch were new where it stands in the stream."""
        # What is stored, and left the stream before it came back here, is known.
        return self._outcomes.pop(commit.number, [False] * len(commit.event_ids))

    def newest(self) -> int:
        """Return the newest record that was followed."""
        return self.followed

    def size_bytes(self) -> int:
        """Return the bytes of the stream, as of the last ``refresh``."""
        return self._events.size_bytes

    def free_bytes(self) -> int:
        """Return how many bytes more the stream takes, as of the last ``refresh``."""
        return self._events.bytes_max - self._events.size_bytes

    def _pass_over(self, first: int) -> None:
        """Go on at ``first``, the oldest record that is left; the ids before it are stored."""
        if first <= self.followed + 1:
            return
        _log.warning(
            "records %d to %d left the stream before they were read here; their ids are read from "
            "the store", self.followed + 1, first - 1,
        )  # fmt: skip
        self._learn_stored(self._on_loop)
        self.followed = first - 1

    def _next(self, last: int) -> list[Followed]:
        messages = self._streams.read("events", self.followed + 1, last)
        self._pass_over(messages[0].sequence)
        followed = [self._followed(message) for message in messages]
        self.followed = messages[-1].sequence
        return followed

    def _followed(self, message: Message) -> Followed:
        try:
            head, event_ids = rows.head_and_ids(message.data)
        except ValueError:
            # The writer sets it aside and says so.
            return Followed(message.sequence, 0, Scope("", ""), [], len(message.data))
        instance, _, number = message.id.partition("-")
        ours = int(number) if instance == self._instance else 0
        if ours in self._seen or ours not in self._appended:
            # Published again after the servers had forgotten the first time.
            ours = 0
        else:
            self._seen.add(ours)
        scope = Scope(head.business_id, head.mode)
        return Followed(message.sequence, ours, scope, event_ids, len(message.data))

    def _on_loop(self, call: Callable[..., None], *values: object) -> None:
        """Call something where the known ids are used: on the loop, before ``start`` here."""
        if self._loop is None:
            call(*values)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *values)

    def _learn_all(self, followed: list[Followed]) -> None:
        for each in followed:
            self._learn(each)
            self._keeper.settled(each.sequence + 1, each.size)

    def _learn(self, each: Followed) -> None:
        if not each.event_ids:
            return
        known = self._keeper.known
        keys = known.keys(each.scope, each.event_ids)
        new = [not repeat for repeat in known.known(keys)]
        known.add(keys if all(new) else keys.where(new))
        if each.number:
            self._outcomes[each.number] = new

    def _id(self, number: int) -> str:
        return f"{self._instance}-{number}"
