"""Follows nginx's log and records what arrived, each response once.

Every response is one event whose id nginx made, so that a line that is read again is billed once.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from streamgauge.core.clock import NS_PER_S, Clock, SystemClock, utc
from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.files import hold, read_all
from streamgauge.sdk.ingestion import Ingestion
from streamgauge.sdk.notices import Notices
from streamgauge.streams.kernel.netlink import ANY_COOKIE, Destroyed, Identity, alive
from streamgauge.streams.kernel.watch import Watch
from streamgauge.streams.layers import How, check_layer
from streamgauge.streams.nginx.joining import Joining, Sent
from streamgauge.streams.nginx.lines import (
    Ends,
    Line,
    address_bytes,
    decode_bill,
    decode_line,
    family_of,
    plain_address,
)
from streamgauge.streams.nginx.tail import Place, Tail

HOW_KEY: Final = "sg_how"
"""Metadata key of how an event's bytes were obtained: ``measured``, ``computed``, ``estimated``."""
_UNMET: Final = Place(0, 0, "")
_MEET_NS: Final = 60 * NS_PER_S
_SAVE_NS: Final = 5 * NS_PER_S
_LOG_DELAY_S_MAX: Final = 60
_PORT_MAX: Final = 65_535


class NginxStats(msgspec.Struct, frozen=True, kw_only=True):
    """A moment of a reader.

    Attributes:
        responses: Responses that were recorded.
        waiting_responses: Responses in the log whose arrival is not proved yet, or that the spool
            does not take for now.
        billed_bytes: Bytes that were recorded, of the layer that is billed.
        estimated_bytes: Of these, bytes that only the log speaks for.
        never_arrived_bytes: Bytes of ``payload`` or ``http`` that nginx logged and that did not
            arrive.
        unattributed_bytes: Bytes of responses that name nobody who pays.
        refused_lines: Lines that are none of ours, or whose values break a rule.
        gaps: How often lines were gone before they were read.
        lost_ends: Announcements of the kernel that were dropped.
        hears_kernel: Whether the kernel announces ends of connections.
    """

    responses: int
    waiting_responses: int
    billed_bytes: int
    estimated_bytes: int
    never_arrived_bytes: int
    unattributed_bytes: int
    refused_lines: int
    gaps: int
    lost_ends: int
    hears_kernel: bool


class _State(msgspec.Struct):
    file: str
    offset: int
    done: list[str] = []


class NginxLog:
    """Bills what nginx on this host sends, by its log and its sockets.

    Args:
        ingestion: Where to.
        path: The log, in the format ``LOG_FORMAT``, of every request that these ports serve.
        state_dir: Keeps how far the log was read; ours alone, made if it is not there.
        ports: What nginx listens on.
        layer: Which bytes are billed. ``payload`` and ``http`` are billed when a response has
            arrived, lower layers when its connection is over.
        log_delay_s: How long nginx may keep a line: more than ``flush=`` of its ``access_log``.
        clock: Tests hand in their own.

    Raises:
        InvalidInputError: A value breaks a rule.
        LockedError: Another process reads this log.
        ConfigurationError: The state directory is not ours alone.
    """

    def __init__(
        self,
        ingestion: Ingestion,
        path: Path,
        *,
        state_dir: Path,
        ports: Sequence[int] = (80, 443),
        layer: str = "payload",
        log_delay_s: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        if not 0 <= log_delay_s <= _LOG_DELAY_S_MAX:
            raise InvalidInputError("log_delay_s", log_delay_s, f"be from 0 to {_LOG_DELAY_S_MAX}")
        for port in ports:
            if not 0 < port <= _PORT_MAX:
                raise InvalidInputError("ports", port, f"be from 1 to {_PORT_MAX}")
        self._ingestion = ingestion
        self._clock = clock or SystemClock()
        self._notices = Notices(self._clock)
        settle_ns = int(log_delay_s * NS_PER_S)
        self._joining = Joining(check_layer(layer), _exists, settle_ns=settle_ns)
        self._heard: deque[tuple[int, Destroyed]] = deque()
        self._lost = 0
        self._directory = OsDirectory(state_dir, create=True)
        self._name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
        self._lock = hold(self._directory, f"{self._name}.lock", f"the log {path}")
        state = self._load()
        after = Place(0, state.offset, state.file) if state is not None else None
        self._tail = Tail(path, after, self._clock)
        # Recorded, though they stand after the place that a restart goes on from.
        self._done: dict[str, Place] = dict.fromkeys(state.done if state else (), _UNMET)
        # Proved, and not recorded yet: the spool did not take the first of them.
        self._due: deque[Sent] = deque()
        self._saved_at_ns = self._started_at_ns = self._clock.monotonic_ns()
        self._responses = self._billed = self._estimated = self._never = 0
        self._unattributed = self._refused = 0
        self._watch = Watch(self._destroyed, self._look)
        for port in ports:
            self._watch.listen(port)

    def run(self, stopped: threading.Event, interval_s: float = 0.5) -> None:
        """Follow the log until ``stopped`` is set."""
        while not stopped.is_set():
            try:
                self.poll()
            except OSError as error:
                self._notices.tell("log", f"the log waits: {error}")
            stopped.wait(interval_s)

    def poll(self) -> None:
        """Take what is in the log and what the kernel announced, and record what is proved.

        Raises:
            OSError: The log cannot be read, the spool takes no event, or the state cannot be
                written; the next call tries again.
        """
        self._hear()
        self._record()
        for place, data in self._tail.read():
            try:
                line = decode_line(data)
            except ValueError as error:
                self._refuse(data, error)
                continue
            if line.id in self._done:
                self._done[line.id] = place
            else:
                self._record(self._joining.add(line, place, self._clock.time_ns()))
        self._hear()
        self._record(self._joining.settle(self._clock.time_ns()))
        if self._clock.monotonic_ns() - self._saved_at_ns >= _SAVE_NS:
            self.save()

    def save(self) -> None:
        """Write how far the log was read, once the events of what was read are on disk.

        Raises:
            OSError: The disk refuses, or the events are in memory only.
        """
        self._saved_at_ns = self._clock.monotonic_ns()
        self._ingestion.sync()
        place = self._joining.oldest() or self._tail.place
        place = min([place, *(sent.place for sent in self._due)])
        meets = self._saved_at_ns - self._started_at_ns < _MEET_NS
        self._done = {
            id: at for id, at in self._done.items() if at >= place or (meets and at == _UNMET)
        }
        state = _State(file=place.file, offset=place.offset, done=[*self._done])
        self._directory.replace(f"{self._name}.json", msgspec.json.encode(state))

    def stats(self) -> NginxStats:
        """Return what was read so far."""
        return NginxStats(
            responses=self._responses,
            waiting_responses=self._joining.waiting + len(self._due),
            billed_bytes=self._billed,
            estimated_bytes=self._estimated,
            never_arrived_bytes=self._never,
            unattributed_bytes=self._unattributed,
            refused_lines=self._refused + self._tail.too_long,
            gaps=self._tail.gaps,
            lost_ends=self._lost + self._joining.ends_lost,
            hears_kernel=self._watch.listening,
        )

    def close(self) -> None:
        """Stop, and keep how far the log was read; what is not proved yet is read again."""
        try:
            self.save()
        except OSError as error:
            self._notices.tell("log", f"the place in the log is not kept: {error}")
        self._watch.close()
        self._tail.close()
        self._lock.release()

    def _record(self, sent: Iterable[Sent] = ()) -> None:
        """Record what is due; what the spool does not take stays so, and OSError is raised."""
        self._due.extend(sent)
        while self._due:
            self._bill(self._due[0])
            one = self._due.popleft()
            self._done[one.line.id] = one.place

    def _bill(self, sent: Sent) -> None:
        line, _, size, how = sent
        if not line.bill:
            self._unattributed += size
            return
        try:
            payer = decode_bill(line.bill)
            draft = self._ingestion.draft(
                customer_id=payer.customer_id,
                quantity=size,
                metadata={**payer.metadata, HOW_KEY: how.value},
                event_id=f"nginx-{line.id}",
                timestamp=utc(line.at_ns),
            )
        except ValueError as error:
            self._unattributed += size
            self._refuse(line.bill.encode(), error)
            return
        self._ingestion.record(draft)
        self._responses += 1
        self._billed += size
        self._never += max(self._joining.logged(line) - size, 0)
        if how is How.ESTIMATED:
            self._estimated += size

    def _refuse(self, data: bytes, error: ValueError) -> None:
        self._refused += 1
        self._notices.tell("line", f"a line of nginx's log is not billed: {error}: {data[:200]!r}")

    def _hear(self) -> None:
        while self._heard:
            at_ns, gone = self._heard.popleft()
            ends = Ends(gone.port, plain_address(gone.peer_address), gone.peer_port)
            self._joining.end(ends, gone.info, at_ns)

    def _destroyed(self, gone: Destroyed) -> None:
        self._heard.append((self._clock.time_ns(), gone))

    def _look(self, *, lost: bool) -> None:
        self._lost += lost

    def _load(self) -> _State | None:
        with contextlib.suppress(FileNotFoundError):
            file = self._directory.open(f"{self._name}.json")
            try:
                return msgspec.json.decode(read_all(file), type=_State)
            except msgspec.MsgspecError as error:
                # Ids are nginx's own, so that reading from the beginning bills nothing twice.
                self._notices.tell("state", f"the log is read from its beginning: {error}")
            finally:
                file.close()
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _exists(line: Line) -> bool:
    """Return whether the kernel still has the connection of a line."""
    try:
        local, peer = address_bytes(line.local), address_bytes(line.peer)
        ports = int(line.port), int(line.peer_port)
    except ValueError:
        return False
    asked = Identity(ANY_COOKIE, family_of(peer), local, ports[0], peer, ports[1])
    return alive(asked) is not None
