"""A disk that can lose its process or its power at every step, and a machine to run on it."""

from __future__ import annotations

import errno
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from streamgauge.core.files import Directory, File, Lock, Page
from streamgauge.core.limits import ADOPTION_INTERVAL_S
from streamgauge.sdk.block import Block
from streamgauge.sdk.engine import Engine
from streamgauge.sdk.ground import Ground
from streamgauge.sdk.groups import checked_group
from streamgauge.sdk.notices import Notices
from streamgauge.sdk.options import Options
from streamgauge.sdk.records import Draft
from streamgauge.sdk.session import StreamSession
from streamgauge.sdk.stats import Durability
from streamgauge.sinks.base import Delivered, Outgoing

SECTOR_BYTES = 512
S = 1_000_000_000


class Crash(BaseException):
    """The process is gone at this step."""


class Fuse:
    """Counts steps; lets none happen from step ``at`` on, and refuses those in ``refused``.

    With an ``actor``, one of several processes, only the one that takes step ``at`` is gone.
    """

    def __init__(self, at: int | None = None, refused: range = range(0)) -> None:
        self.at = at
        self.refused = refused
        self.steps = 0
        self.blown = False
        self.actor = ""
        self.dead: set[str] = set()

    def step(self) -> None:
        self.steps += 1
        if self.steps in self.refused:
            raise OSError(errno.EIO, "the disk refuses")
        if self.steps == self.at:
            self.dead.add(self.actor)
            self.blown = not self.actor
        if self.blown or self.actor in self.dead:
            raise Crash


class SimFile:
    def __init__(self, live: bytes | bytearray = b"") -> None:
        self.live = bytearray(live)
        self.synced = bytes(live)

    def after_process_death(self) -> SimFile:
        reborn = SimFile(self.live)
        reborn.synced = self.synced
        return reborn

    def after_power_loss(self, rng: random.Random) -> SimFile:
        size = rng.choice([len(self.live), len(self.synced)])
        kept = bytearray(size)
        for at in range(0, size, SECTOR_BYTES):
            source = bytes(self.live) if rng.random() < 0.5 else self.synced
            sector = source[at : min(at + SECTOR_BYTES, size)]
            kept[at : at + len(sector)] = sector
        return SimFile(kept)


class SimHandle:
    def __init__(self, file: SimFile, fuse: Fuse) -> None:
        self._file = file
        self._fuse = fuse

    def write_at(self, offset: int, data: bytes) -> None:
        live = self._file.live
        try:
            self._fuse.step()
        except Crash:
            if self._fuse.steps == self._fuse.at:
                data = data[: len(data) // 2]
                live[offset : offset + len(data)] = data
            raise
        if len(live) < offset:
            live.extend(bytes(offset - len(live)))
        live[offset : offset + len(data)] = data

    def read_at(self, offset: int, size: int) -> bytes:
        return bytes(self._file.live[offset : offset + size])

    def size(self) -> int:
        return len(self._file.live)

    def truncate(self, size: int) -> None:
        self._fuse.step()
        del self._file.live[size:]

    def sync(self) -> None:
        self._fuse.step()
        self._file.synced = bytes(self._file.live)

    def close(self) -> None:
        pass


class SimPage:
    def __init__(self, file: SimFile, fuse: Fuse) -> None:
        self._file = file
        self._fuse = fuse
        self.view = memoryview(file.live)

    def sync(self) -> None:
        self._fuse.step()
        self._file.synced = bytes(self._file.live)

    def close(self) -> None:
        self.view.release()


class SimLock:
    def __init__(self, held: dict[str, str], name: str) -> None:
        self._held = held
        self._name = name

    def is_whole(self) -> bool:
        return True

    def release(self) -> None:
        self._held.pop(self._name, None)


class SimDirectory:
    """Entries as the kernel has them and as the disk has them; a fuse before every change."""

    def __init__(self, fuse: Fuse) -> None:
        self.fuse = fuse
        self.live: dict[str, SimFile | SimDirectory] = {}
        self.synced: dict[str, SimFile | SimDirectory] = {}
        # Locks by name, with the process that holds them.
        self.held: dict[str, str] = {}
        self.removed: list[str] = []

    def names(self) -> list[str]:
        return sorted(self.live)

    def _file(self, name: str, *, create: bool) -> SimFile:
        if create:
            if name in self.live:
                raise FileExistsError(name)
            self.fuse.step()
            self.live[name] = SimFile()
        node = self.live.get(name)
        if node is None:
            raise FileNotFoundError(name)
        assert isinstance(node, SimFile)
        return node

    def open(self, name: str, *, create: bool = False) -> File:
        return SimHandle(self._file(name, create=create), self.fuse)

    def map(self, name: str, size_bytes: int = 0) -> Page:
        file = self._file(name, create=bool(size_bytes))
        if size_bytes:
            self.fuse.step()
            file.live.extend(bytes(size_bytes))
        return SimPage(file, self.fuse)

    def replace(self, name: str, data: bytes) -> None:
        self.fuse.step()
        self.live[name] = SimFile(data)
        self.sync()

    def remove(self, name: str) -> None:
        if name in self.live:
            self.fuse.step()
            del self.live[name]
            self.removed.append(name)

    def sync(self) -> None:
        self.fuse.step()
        self.synced = dict(self.live)

    def child(self, name: str, *, create: bool = False) -> Directory:
        if name not in self.live:
            if not create:
                raise FileNotFoundError(name)
            self.fuse.step()
            self.live[name] = SimDirectory(self.fuse)
        node = self.live[name]
        assert isinstance(node, SimDirectory)
        return node

    def remove_child(self, name: str) -> None:
        node = self.live[name]
        assert isinstance(node, SimDirectory)
        if node.live:
            raise OSError(f"{name} is not empty")
        self.fuse.step()
        del self.live[name]

    def free_bytes(self) -> int:
        return 2**62

    def lock(self, name: str) -> Lock | None:
        if name in self.held:
            return None
        if name not in self.live:
            self.fuse.step()
            self.live[name] = SimFile()
        self.held[name] = self.fuse.actor
        return SimLock(self.held, name)

    def free_locks_of(self, actor: str) -> None:
        for name in [name for name, holder in self.held.items() if holder == actor]:
            del self.held[name]
        for node in self.live.values():
            if isinstance(node, SimDirectory):
                node.free_locks_of(actor)

    def after_process_death(self, fuse: Fuse) -> SimDirectory:
        reborn = SimDirectory(fuse)
        # Nothing is synced by dying: what the new process relies on, it must sync itself.
        for name, node in self.live.items():
            if isinstance(node, SimFile):
                reborn.live[name] = node.after_process_death()
            else:
                reborn.live[name] = node.after_process_death(fuse)
        reborn.synced = {name: reborn.live[name] for name in self.synced if name in self.live}
        return reborn

    def after_power_loss(self, fuse: Fuse, rng: random.Random) -> SimDirectory:
        reborn = SimDirectory(fuse)
        for name in sorted(self.live.keys() | self.synced.keys()):
            node = rng.choice([self.live.get(name), self.synced.get(name)])
            if isinstance(node, SimFile):
                reborn.live[name] = node.after_power_loss(rng)
            elif node is not None:
                reborn.live[name] = node.after_power_loss(fuse, rng)
        reborn.synced = dict(reborn.live)
        return reborn


class SimClock:
    def __init__(self) -> None:
        self.now_ns = 1_700_000_040 * S

    def time_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    def pass_s(self, seconds: int) -> None:
        self.now_ns += seconds * S


class OnceSink:
    """Keeps each id once, as the server does; a process may die before and after its answer."""

    destination = "simulated"
    asks_first = True

    def __init__(self) -> None:
        self.fuse = Fuse()
        self.bodies: dict[str, bytes] = {}
        self.repeats = 0

    def deliver(self, batch: Sequence[Outgoing]) -> Delivered:
        self.fuse.step()
        for event in batch:
            if event.event_id in self.bodies:
                self.repeats += 1
                doubted = event.attempted_at_ns is not None or self.fuse.refused
                assert doubted, "what may have arrived is known to be in doubt, after any crash"
            known = self.bodies.setdefault(event.event_id, event.body)
            assert known == event.body, "an id must always name the same event"
        self.fuse.step()
        return Delivered(acknowledged=tuple(event.event_id for event in batch))

    def close(self) -> None:
        pass

    def billed(self) -> Counter[str]:
        sums: Counter[str] = Counter()
        for body in self.bodies.values():
            event = msgspec.json.decode(body)
            sums[event["customer_id"]] += event["metadata"]["bytes"]
        return sums


class Machine:
    """One computer and the processes that live and die on it.

    ``counted`` is what processes were told to count, ``maybe`` what they were being told when they
    died, ``floor`` what was counted when the last finished tick began: that is on disk.
    """

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.clock = SimClock()
        self.fuse = Fuse()
        self.root = SimDirectory(self.fuse)
        self.sink = OnceSink()
        self.counted: Counter[str] = Counter()
        self.maybe: Counter[str] = Counter()
        self.floor: Counter[str] = Counter()
        self.engine: Engine

    def boot(self, crash_at: int | None = None, refused: range = range(0)) -> None:
        self.fuse = self.sink.fuse = Fuse(crash_at, refused)
        self.root = self.root.after_process_death(self.fuse)
        self.start()

    def start(self) -> None:
        self.notices = Notices(self.clock)
        options = Options(
            environment="test_mode",
            event_name="stream",
            spool_dir=Path(),
            coalesce=False,
            window_s=60,
            flush_interval_s=None,
            delivery_interval_s=1.0,
            sync_interval_s=1.0,
            batch_events_max=3,
        )
        ground = Ground(
            root=self.root,
            durability=Durability.DISK,
            clock=self.clock,
            entropy=self.rng.randbytes,
            page_bytes=512,
        )
        self.engine = Engine(options, self.sink, ground, self.notices)

    def kill(self) -> None:
        self.fuse.blown = True
        self.root = self.root.after_process_death(Fuse())

    def cut_power(self) -> None:
        self.fuse.blown = True
        self.root = self.root.after_power_loss(Fuse(), self.rng)
        self.clock.pass_s(ADOPTION_INTERVAL_S)

    # Sessions ask the machine for slots, as they ask an ingestion.
    def attach(self, session: StreamSession, n: int) -> None:
        self.engine.coalescer.attach(session, n)

    def give_back(self, descriptor: bytes, block: Block, at: int) -> None:
        self.engine.coalescer.give_back(descriptor, block, at)

    def session(self, customer: str) -> StreamSession:
        group = checked_group("stream", customer, {"kind": "video"}, measured=True)
        return StreamSession(self, group.descriptor())

    def add(self, session: StreamSession, n: int) -> None:
        self.maybe[session.customer_id] += n
        session.add(n)
        self.maybe[session.customer_id] -= n
        self.counted[session.customer_id] += n

    def track(self, customer: str, n: int) -> None:
        group = checked_group("stream", customer, {"kind": "plain"}, measured=True)
        self.maybe[customer] += n
        draft = Draft(group=group, timestamp_ns=self.clock.time_ns(), quantity=n)
        self.engine.accept(draft)
        self.maybe[customer] -= n
        self.counted[customer] += n

    def tick(self, *, cut_open: bool = False) -> None:
        counted = self.counted.copy()
        if self.engine.tick(cut_open=cut_open):
            self.floor = counted

    def deliver(self) -> None:
        self.engine.adopt()
        while self.engine.deliver() is not None:
            pass

    def drain(self) -> None:
        """Bill everything that is left, in a process that nothing kills, and end it."""
        self.boot()
        self.deliver()
        assert self.engine.stats().holds
        # What was only begun to be made is removed when nobody can be making it any more.
        self.clock.pass_s(ADOPTION_INTERVAL_S)
        self.engine.adopt()
        self.engine.stop_counting()
        self.deliver()
        self.engine.close()

    def check(self, *, lost: bool) -> None:
        billed = self.sink.billed()
        for customer in self.counted | self.maybe | billed:
            most = self.counted[customer] + self.maybe[customer]
            least = self.floor[customer] if lost else self.counted[customer]
            assert least <= billed[customer] <= most, customer


@pytest.fixture
def machine_type(monkeypatch: pytest.MonkeyPatch) -> type[Machine]:
    # Segments of a few events, so that trimming happens within a short story.
    monkeypatch.setattr("streamgauge.sdk.spool.SPOOL_SEGMENT_BYTES_MAX", 700)
    return Machine


@pytest.fixture
def crash_type() -> type[Crash]:
    return Crash


@pytest.fixture
def fuse_type() -> type[Fuse]:
    return Fuse


@pytest.fixture
def directory_type() -> type[SimDirectory]:
    return SimDirectory
