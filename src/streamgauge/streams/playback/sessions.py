"""The book of playback sessions: what belongs together, and when it is over."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from streamgauge.core.clock import NS_PER_S, Clock, SystemClock
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.ids import Entropy, new_id
from streamgauge.core.limits import (
    METADATA_VALUE_CHARS_MAX,
    PLAYBACK_QUALITIES_MAX,
    PLAYBACK_SESSIONS_MAX,
)
from streamgauge.streams.layers import LAYERS, How, Measured, Reading
from streamgauge.streams.payers import Complaints
from streamgauge.streams.playback.manifests import Segment
from streamgauge.streams.playback.record import EndedBy, PlaybackSession, sum_of

Name = tuple[str | None, str]
Key = Callable[[Measured], str | None]
"""Says which responses belong together, within a customer; None: to no session."""
Media = Callable[[Measured], Segment | None]
"""Says which segment a response was; ``Manifests`` does."""

_LOOK_S: Final = 1.0
_STOP_S: Final = 2.0
_ID: Final = "pbs"


class _Open:
    """A session that goes on."""

    __slots__ = ("ended_at_ns", "heard_ns", "id", "incomplete", "media_us", "part",
                 "quality_bytes", "readings", "requests", "started_at_ns")  # fmt: skip

    def __init__(self, id: str, part: int, started_at_ns: int, heard_ns: int) -> None:
        self.id = id
        self.part = part
        self.started_at_ns = self.ended_at_ns = started_at_ns
        # When something was last heard of it, on the clock that does not jump.
        self.heard_ns = heard_ns
        self.requests = 0
        self.incomplete = 0
        self.media_us: dict[str, int] = {}
        self.quality_bytes: dict[str, int] = {}
        self.readings = dict.fromkeys(LAYERS, Reading(0, How.MEASURED, final=True))

    def add(self, measured: Measured, segment: Segment | None) -> None:
        """Take one more response."""
        self.started_at_ns = min(self.started_at_ns, measured.started_at_ns)
        self.ended_at_ns = max(self.ended_at_ns, measured.done_at_ns)
        self.requests += 1
        self.incomplete += not measured.is_complete
        for layer in LAYERS:
            self.readings[layer] = sum_of(self.readings[layer], measured.of(layer))
        quality = str(measured.metadata.get("quality", "")) or (segment.quality if segment else "")
        size = measured.payload.bytes
        if segment is not None and measured.is_complete and size:
            before = self.media_us.get(segment.kind, 0)
            self.media_us[segment.kind] = before + segment.duration_us
        if quality and size:
            if quality not in self.quality_bytes and (
                len(self.quality_bytes) >= PLAYBACK_QUALITIES_MAX
            ):
                return
            self.quality_bytes[quality] = self.quality_bytes.get(quality, 0) + size

    def record(self, name: Name, ended_by: EndedBy) -> PlaybackSession:
        """Return what is told of it."""
        return PlaybackSession(
            id=self.id,
            part=self.part,
            customer_id=name[0],
            key=name[1],
            started_at_ns=self.started_at_ns,
            ended_at_ns=self.ended_at_ns,
            ended_by=ended_by,
            requests=self.requests,
            incomplete_requests=self.incomplete,
            media_us=max(self.media_us.values(), default=0),
            quality_bytes=self.quality_bytes,
            **self.readings,
        )


class PlaybackSessions:
    """Puts measured responses together; give it to a middleware as ``on_measured=``.

    Sessions of two customers never mix, whatever the key, so that the key may be a word of the
    player, such as CMCD's ``sid``. A session is over when nothing was heard of it for
    ``idle_timeout_s``. Figures of a response that come later still (its connection was open or
    its client had vanished) are told as one part more of the same session: none is lost.

    Args:
        key: Says which responses belong together; a token, a title.
        on_ended: Called with every session that is over; from any thread. ``queue.put`` does.
        media: Says which segment a response was; a ``Manifests``, usually.
        idle_timeout_s: Longer than a segment and than the server keeps idle connections.
        sessions_max: Beyond, the session that is idle longest ends early.
        clock: Tests hand in their own.
        entropy: Of session ids.

    Raises:
        InvalidInputError: A value breaks a rule.

    Attributes:
        overflowed: Sessions that ended early since there were too many.
    """

    _open: OrderedDict[Name, _Open]
    _ended: OrderedDict[Name, tuple[str, int, int]]
    _over: list[PlaybackSession]
    _thread: threading.Thread | None

    def __init__(
        self,
        key: Key,
        *,
        on_ended: Callable[[PlaybackSession], object],
        media: Media | None = None,
        idle_timeout_s: int = 60,
        sessions_max: int = PLAYBACK_SESSIONS_MAX,
        clock: Clock | None = None,
        entropy: Entropy = os.urandom,
    ) -> None:
        for field, value in (("idle_timeout_s", idle_timeout_s), ("sessions_max", sessions_max)):
            if type(value) is not int or value < 1:
                raise InvalidInputError(field, value, "be a whole number of at least 1")
        self._key = key
        self._on_ended = on_ended
        self._media = media
        self._timeout_ns = idle_timeout_s * NS_PER_S
        self._sessions_max = sessions_max
        self._clock = clock or SystemClock()
        self._entropy = entropy
        self._complaints = Complaints(self._clock)
        self.overflowed = 0
        self._renew()
        _renew_after_fork(self)

    @property
    def open_count(self) -> int:
        """Return how many sessions go on."""
        return len(self._open)

    @property
    def failures(self) -> int:
        """Return how often ``key``, ``media`` or ``on_ended`` failed."""
        return self._complaints.count

    def __call__(self, measured: Measured) -> None:
        """Take a measured response into its session."""
        try:
            key = self._key(measured)
            if key is None:
                return
            name = (measured.customer_id, _checked(key))
            segment = self._media(measured) if self._media is not None else None
        except Exception as error:  # noqa: BLE001 - the caller's functions; what is billed is safe
            self._complaints.add("a response is in no playback session: key= or media=", error)
            return
        with self._lock:
            session = self._find(name, measured.started_at_ns)
            session.add(measured, segment)
            if self._stopped.is_set():
                self._end(name, EndedBy.CLOSE)
        self._tell()

    def id_of(self, customer_id: str, key: str) -> str:
        """Return the id of the session, and begin it if it has not; for the metadata of events.

        Args:
            customer_id: Who pays for the response.
            key: What ``key`` will say of it.

        Raises:
            InvalidInputError: A value breaks a rule.
        """
        with self._lock:
            session = self._find((customer_id, _checked(key)), self._clock.time_ns())
        self._tell()
        return session.id

    def end_idle(self) -> None:
        """End the sessions that are idle too long; a thread of its own does, once a second."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            while self._open:
                name, session = next(iter(self._open.items()))
                if now_ns - session.heard_ns < self._timeout_ns:
                    break
                self._end(name, EndedBy.IDLE)
        self._tell()

    def close(self) -> None:
        """End all sessions, and the thread; twice is once."""
        self._stopped.set()
        with self._lock:
            thread, self._thread = self._thread, None
            for name in list(self._open):
                self._end(name, EndedBy.CLOSE)
        self._tell()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_STOP_S)

    def _find(self, name: Name, at_ns: int) -> _Open:
        now_ns = self._clock.monotonic_ns()
        session = self._open.get(name)
        if session is not None and now_ns - session.heard_ns >= self._timeout_ns:
            self._end(name, EndedBy.IDLE)
            session = None
        if session is None:
            if len(self._open) >= self._sessions_max:
                self.overflowed += 1
                self._end(next(iter(self._open)), EndedBy.OVERFLOW)
            id, part, ended_at_ns = self._ended.pop(name, ("", 0, 0))
            if not id or at_ns > ended_at_ns + self._timeout_ns:
                id, part = new_id(_ID, time_ns=self._clock.time_ns, entropy=self._entropy), 0
            session = self._open[name] = _Open(id, part + 1, at_ns, now_ns)
            self._start()
        session.heard_ns = now_ns
        self._open.move_to_end(name)
        return session

    def _end(self, name: Name, ended_by: EndedBy) -> None:
        session = self._open.pop(name)
        # Of a session that nothing was measured of, nothing is told, and its part comes later.
        told = session.part - (session.requests == 0)
        self._ended[name] = (session.id, told, session.ended_at_ns)
        self._ended.move_to_end(name)
        while len(self._ended) > self._sessions_max:
            self._ended.popitem(last=False)
        if session.requests:
            self._over.append(session.record(name, ended_by))

    def _tell(self) -> None:
        """Tell what is over, while no lock is held."""
        while self._over:
            with self._lock:
                over, self._over = self._over, []
            for one in over:
                try:
                    self._on_ended(one)
                except Exception as error:  # noqa: BLE001 - the caller's function
                    self._complaints.add("on_ended= failed, and its session is lost to it", error)

    def _start(self) -> None:
        if self._thread is None and not self._stopped.is_set():
            self._thread = threading.Thread(
                target=self._run, name="streamgauge-playback", daemon=True
            )
            self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(_LOOK_S):
            self.end_idle()

    def _renew(self) -> None:
        """Begin with nothing; in a process that was forked, the parent tells what it has."""
        self._lock = threading.RLock()
        self._open = OrderedDict()
        self._ended = OrderedDict()
        self._over = []
        self._stopped = threading.Event()
        self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _checked(key: object) -> str:
    if not isinstance(key, str) or not 1 <= len(key) <= METADATA_VALUE_CHARS_MAX:
        rule = f"be a text of 1 to {METADATA_VALUE_CHARS_MAX} characters"
        raise InvalidInputError("key", key, rule)
    return key


def _renew_after_fork(sessions: PlaybackSessions) -> None:
    reference = weakref.ref(sessions)

    def renew() -> None:
        if (alive := reference()) is not None:
            alive._renew()  # noqa: SLF001 - its own module's other half.

    os.register_at_fork(after_in_child=renew)
