"""Remembering event ids: time per id, memory and disk, and a restart, for both kinds of ids.

Batches of 1,000 ids, a tenth of them repeats from any time before, as the server looks them up
and remembers them: ``us/id`` is processor time of the thread that asks, digests included, beside
``digest us``, what the digest alone takes at the same time; ``all us/id`` has snapshots, merges and
the making of ids in it. ``--ours`` are ids of spools, ``--foreign`` any others.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from hashlib import blake2b
from pathlib import Path

from streamgauge.core.disk import OsDirectory
from streamgauge.server.ingest.decode import Scope
from streamgauge.server.ingest.keeper import Keeper

SCOPE = Scope("bus_1", "live_mode")
BATCH = 1_000
NEW = 900
SPOOLS = 10_000
# A segment of the log holds this many batches; it matters for how often snapshots are made.
BATCHES_PER_SEGMENT = 100
RECORD_BYTES = 250 * BATCH
NAMES = ("ids", "foreign", "runs", "us/id", "digest us", "max ms", "anon MB", "file MB", "disk MB")
NAMES += ("restart s", "all us/id", "wall s")
WIDTHS = (13, 13, 8, 8, 9, 9, 8, 8, 8, 10, 9, 8)


def foreign_id(number: int) -> str:
    """Return an id as clients make them: no order, 36 characters."""
    mixed = number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128
    digits = f"{mixed:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def own_id(number: int) -> str:
    """Return an id of one of many spools that take turns by the batch."""
    turn, place = divmod(number, BATCH)
    spool, lap = turn % SPOOLS, turn // SPOOLS
    return f"{spool:032x}-{lap * BATCH + place}"


def memory_mb(kind: str) -> int:
    """Return resident memory of a kind: RssAnon, or RssFile for mapped files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) // 1024
    return 0


def disk_mb(path: Path) -> int:
    """Return the size of what is in a directory."""
    return sum(file.stat().st_size for file in path.iterdir()) // 2**20


class Load:
    """Batches in order, and what they cost."""

    def __init__(self, path: Path, *, ours: bool) -> None:
        self._path = path
        self._ours = ours
        self._make = own_id if ours else foreign_id
        self._chance = random.Random(1)
        self._batches = 0
        self.keeper = Keeper(OsDirectory(path, create=True))
        self.keeper.start()
        self.sent = 0
        self.looked_up = 0
        self.spent_s = 0.0
        self.longest_s = 0.0
        self.digested = 0
        self.digesting_s = 0.0

    def batch(self) -> None:
        """Look one batch up and remember it."""
        ids, expected = self._own_batch() if self._ours else self._foreign_batch()
        started, spent = time.perf_counter(), time.thread_time()
        known = self.keeper.known
        keys = known.keys(SCOPE, ids)
        flags = known.known(keys)
        if not all(flags):
            known.add(keys if not any(flags) else keys.where([not flag for flag in flags]))
        self.keeper.settled(1 + self._batches // BATCHES_PER_SEGMENT, RECORD_BYTES)
        spent, took = time.thread_time() - spent, time.perf_counter() - started
        if flags != expected:
            raise RuntimeError("an id was taken for another")
        self.sent += flags.count(False)
        self._batches += 1
        self.looked_up += BATCH
        self.spent_s += spent
        self.longest_s = max(self.longest_s, took)
        if self._batches % 16 == 0:
            self._digest(ids)

    def restart_s(self) -> float:
        """Return how long a new process takes to open what is there."""
        self.keeper.stop(600)
        self.keeper.save(1 + self._batches // BATCHES_PER_SEGMENT)
        self.keeper.close()
        command = [sys.executable, "-m", "benchmarks.known_ids", "--restart", str(self._path)]
        opened = subprocess.run(command, capture_output=True, text=True, check=True)
        self.keeper = Keeper(OsDirectory(self._path))
        self.keeper.start()
        return float(opened.stdout)

    def _own_batch(self) -> tuple[list[str], list[bool]]:
        """Return the next batch of a spool, or, every tenth time, one that was sent before."""
        repeat = self.sent and not self._batches % 10
        first = self._chance.randrange(self.sent // BATCH) * BATCH if repeat else self.sent
        ids = [own_id(number) for number in range(first, first + BATCH)]
        return ids, [bool(repeat)] * BATCH

    def _foreign_batch(self) -> tuple[list[str], list[bool]]:
        """Return a batch with a tenth that was sent at any time before."""
        repeats = min(BATCH - NEW, self.sent)
        ids = [foreign_id(self.sent + place) for place in range(BATCH - repeats)]
        ids += [foreign_id(self._chance.randrange(self.sent)) for _ in range(repeats)]
        return ids, [False] * (BATCH - repeats) + [True] * repeats

    def _digest(self, ids: list[str]) -> None:
        """Do what no index of foreign ids can do without, for comparison."""
        state = blake2b(b"bus_1", digest_size=16, key=b"secret")
        spent = time.thread_time()
        for event_id in ids:
            copy = state.copy()
            copy.update(event_id.encode())
            copy.digest()
        self.digested += len(ids)
        self.digesting_s += time.thread_time() - spent


def measure(path: Path, counts: list[int], *, ours: bool) -> None:
    """Print a line per count, each with a restart in a new process."""
    load = Load(path, ours=ours)
    for count in counts:
        before, before_s, cpu_s = load.looked_up, load.spent_s, time.process_time()
        load.digested, load.digesting_s, load.longest_s = 0, 0.0, 0.0
        started = time.perf_counter()
        while load.sent < count:
            load.batch()
        ids = load.looked_up - before
        cpu_us, wall_s = (time.process_time() - cpu_s) / ids * 1e6, time.perf_counter() - started
        anonymous, mapped = memory_mb("RssAnon"), memory_mb("RssFile")
        restart_s = load.restart_s()
        runs, foreign = load.keeper.known.sizes()
        figures = (
            f"{load.sent:,}",
            f"{foreign:,}",
            f"{runs:,}",
            f"{(load.spent_s - before_s) / ids * 1e6:.2f}",
            f"{load.digesting_s / load.digested * 1e6:.2f}",
            f"{load.longest_s * 1e3:.1f}",
            f"{anonymous:,}",
            f"{mapped:,}",
            f"{disk_mb(path):,}",
            f"{restart_s:.1f}",
            f"{cpu_us:.2f}",
            f"{wall_s:.0f}",
        )
        row(figures)
    load.keeper.stop(600)
    load.keeper.close()


def row(cells: tuple[str, ...]) -> None:
    """Print one line of the table."""
    line = (f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
    print(" ".join(line), flush=True)


def restart(path: Path) -> None:
    """Print how long opening takes; nothing is written."""
    started = time.perf_counter()
    keeper = Keeper(OsDirectory(path))
    print(time.perf_counter() - started)
    if keeper.damage:
        raise RuntimeError(keeper.damage)


def main() -> None:
    """Measure what is asked for, by default what ends within minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", type=int, nargs="*", default=[10_000_000])
    parser.add_argument("--foreign", type=int, nargs="*", default=[10_000_000])
    parser.add_argument("--directory", type=Path, help="where to, instead of a temporary one")
    parser.add_argument("--restart", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.restart:
        restart(options.restart)
        return
    row(NAMES)
    for ours, counts in ((True, options.ours), (False, options.foreign)):
        if counts:
            with tempfile.TemporaryDirectory(dir=options.directory) as parent:
                measure(Path(parent) / "ids", sorted(counts), ours=ours)


if __name__ == "__main__":
    main()
