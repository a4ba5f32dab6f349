"""Remembering event ids: time per id, memory and disk, and a restart, for both kinds of ids.

Batches of 1,000 ids, 90 % new and 10 % repeats from any time before, as the server looks them up
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
from collections.abc import Callable
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


def foreign_id(number: int) -> str:
    """Return an id as clients make them: no order, 36 characters."""
    mixed = number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128
    digits = f"{mixed:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def own_id(number: int) -> str:
    """Return an id of one of many spools that take turns by the batch."""
    turn, place = divmod(number, NEW)
    spool, lap = turn % SPOOLS, turn // SPOOLS
    return f"{spool:032x}-{lap * NEW + place}"


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

    def __init__(self, path: Path, make: Callable[[int], str]) -> None:
        self.keeper = Keeper(OsDirectory(path, create=True))
        self.keeper.start()
        self._make = make
        self._chance = random.Random(1)
        self._batches = 0
        self.sent = 0
        self.spent_s = 0.0
        self.longest_s = 0.0
        self.digested = 0
        self.digesting_s = 0.0

    def batch(self) -> None:
        """Look one batch up and remember it."""
        repeats = min(BATCH - NEW, self.sent)
        ids = [self._make(self.sent + place) for place in range(NEW)]
        ids += [self._make(self._chance.randrange(self.sent)) for _ in range(repeats)]
        started, spent = time.perf_counter(), time.thread_time()
        known = self.keeper.known
        keys = known.keys(SCOPE, ids)
        flags = known.known(keys)
        known.add(keys.where([not flag for flag in flags]))
        self.keeper.settled(1 + self._batches // BATCHES_PER_SEGMENT, RECORD_BYTES)
        spent, took = time.thread_time() - spent, time.perf_counter() - started
        if flags != [False] * NEW + [True] * repeats:
            raise RuntimeError("an id was taken for another")
        self.sent += NEW
        self._batches += 1
        if self._batches % 16 == 0:
            self._digest(ids)
        self.spent_s += spent
        self.longest_s = max(self.longest_s, took)

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


def measure(path: Path, make: Callable[[int], str], counts: list[int]) -> None:
    """Print a line per count, each with a restart in a new process."""
    load = Load(path, make)
    for count in counts:
        before_s, before, cpu = load.spent_s, load.sent, time.process_time()
        load.digested, load.digesting_s = 0, 0.0
        load.longest_s, started = 0.0, time.perf_counter()
        while load.sent < count:
            load.batch()
        spent = (load.spent_s - before_s) / (load.sent - before) * 1e6 * NEW / BATCH
        whole = (time.process_time() - cpu) / (load.sent - before) * 1e6
        runs, foreign = load.keeper.known.sizes()
        restart = subprocess.run(
            [sys.executable, "-m", "benchmarks.known_ids", "--restart", str(path)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        print(
            f"{load.sent:>13,} {foreign:>13,} {runs:>8,} {spent:>8.2f}"
            f" {load.digesting_s / load.digested * 1e6:>9.2f} {load.longest_s * 1e3:>9.1f}"
            f" {memory_mb('RssAnon'):>8,} {memory_mb('RssFile'):>8,} {disk_mb(path):>8,}"
            f" {float(restart.stdout):>10.1f} {whole:>9.2f} {time.perf_counter() - started:>8.0f}",
            flush=True,
        )
    load.keeper.stop(600)
    load.keeper.close()


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
    names = ("ids", "foreign", "runs", "us/id", "digest us", "max ms", "anon MB", "file MB")
    names += ("disk MB", "restart s", "all us/id", "wall s")
    widths = (13, 13, 8, 8, 9, 9, 8, 8, 8, 10, 9, 8)
    print(" ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True)))
    for make, counts in ((own_id, options.ours), (foreign_id, options.foreign)):
        if not counts:
            continue
        with tempfile.TemporaryDirectory(dir=options.directory) as parent:
            measure(Path(parent) / "ids", make, sorted(counts))


if __name__ == "__main__":
    main()
