"""CPU of a real server per GiB it streams: unmetered, and metered in several ways, in pairs.

A uvicorn of each kind serves one response of many chunks over loopback to a client that throws it
away. CPU time of the server's process, its threads included; each round asks every server once, in
rotating order, and each is compared with the unmetered one of the same round.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.streaming_app import VARIANTS

NONE = "unmetered"
CHUNK_BYTES = (4_096, 65_536, 1_048_576)
GIB = 1 << 30
_READ_BYTES = 1 << 20
_START_S = 60


class Server:
    """A uvicorn with one variant."""

    def __init__(self, variant: str, folder: Path) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.streaming_app", variant),
                *(str(self._listener.fileno()), str(folder)),
            ],
            pass_fds=[self._listener.fileno()],
            cwd=Path(__file__).parents[1],
        )

    def cpu_s(self) -> float:
        """Return the CPU time of all its threads so far, user and system."""
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    def stream(self, total: int, size: int) -> float:
        """Receive ``total`` bytes in chunks of ``size``; return the server's CPU for it."""
        before_s = self.cpu_s()
        with socket.create_connection(("127.0.0.1", self.port), timeout=_START_S) as client:
            client.sendall(f"GET /{total}/{size} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
            received, buffer = 0, bytearray(_READ_BYTES)
            while received < total:
                got = client.recv_into(buffer)
                if not got:
                    raise ConnectionError("the server closed the connection")
                received += got
        time.sleep(0.05)
        return self.cpu_s() - before_s

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(30)
        self._listener.close()


@contextlib.contextmanager
def servers() -> Iterator[dict[str, Server]]:
    """Yield a warm server of each variant."""
    with tempfile.TemporaryDirectory() as parent, contextlib.ExitStack() as stack:
        started = {}
        for variant in VARIANTS:
            started[variant] = Server(variant, Path(parent))
            stack.callback(started[variant].close)
        for server in started.values():
            server.stream(1 << 22, 1 << 16)
        yield started


def main() -> None:
    """Print seconds of CPU per GiB and the ratio to the unmetered server, with quartiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--mib", type=int, default=128, help="streamed in each round and variant")
    options = parser.parse_args()
    total = options.mib << 20
    with servers() as started:
        for size in CHUNK_BYTES:
            names = list(started)
            costs: dict[str, list[float]] = {name: [] for name in names}
            for number in range(options.rounds):
                turn = number % len(names)
                for name in names[turn:] + names[:turn]:
                    costs[name].append(started[name].stream(total, size) * GIB / total)
            show(costs, f"chunks of {size:,} bytes")


def show(costs: dict[str, list[float]], title: str) -> None:
    """Print one table."""
    print(f"\n{title:36}{'CPU s per GiB':>14}{'times unmetered (quartiles)':>32}", flush=True)
    for name, values in costs.items():
        ratios = [value / bare for value, bare in zip(values, costs[NONE], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        spread = f"{middle:.3f} ({low:.3f} to {high:.3f})"
        print(f"{name:36}{statistics.median(values):>14.3f}{spread:>32}")


if __name__ == "__main__":
    main()
