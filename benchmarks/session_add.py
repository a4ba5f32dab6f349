"""What counting one chunk costs: `StreamSession.add` beside other counters of the same chunk.

CPU time of the calling thread per call, loop included, for every counter in turn in each round;
the order rotates. The session is a real one: its page is a mapped file that survives `kill -9`.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, Counter

from streamgauge import Ingestion
from streamgauge.testing import MemorySink, assert_conserved

CHUNK_BYTES = 65_536
BARE = "a method of `self.n += n`"
Add = Callable[[int], object]


class Bare:
    """The least that a counter can do: lost when the process is killed."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0

    def add(self, n: int) -> None:
        """Count."""
        self.n += n


@contextmanager
def counters() -> Iterator[dict[str, Add]]:
    """Yield each counter's method, resolved as far as its library allows."""
    labels = {"customer": "customer_123", "quality": "1080p"}
    provider = MeterProvider([InMemoryMetricReader()])
    otel = provider.get_meter("benchmark").create_counter("bytes")
    family = Counter("bytes", "Bytes.", list(labels), registry=CollectorRegistry())
    with tempfile.TemporaryDirectory() as parent:
        ingestion = Ingestion(
            environment="test_mode",
            event_name="stream_consumption",
            spool_dir=Path(parent) / "spool",
            sink=MemorySink(),
        )
        session = ingestion.session(customer_id="customer_123", metadata={"quality": "1080p"})
        session.add(0)
        yield {
            BARE: Bare().add,
            "StreamSession.add": session.add,
            "prometheus-client: child.inc": family.labels(**labels).inc,
            "OpenTelemetry: counter.add": lambda n: otel.add(n, labels),
        }
        ingestion.close()
        assert_conserved(ingestion.stats())
    provider.shutdown()


def cost_ns(add: Add, calls: int) -> float:
    """Return the thread's CPU time per call, in nanoseconds."""
    started_ns = time.thread_time_ns()
    for _ in itertools.repeat(None, calls):
        add(CHUNK_BYTES)
    return (time.thread_time_ns() - started_ns) / calls


def main() -> None:
    """Print the median of each counter, and its ratio to the barest, round by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=100_000)
    options = parser.parse_args()
    with counters() as adds:
        costs: dict[str, list[float]] = {name: [] for name in adds}
        names = list(adds)
        for number in range(options.rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                costs[name].append(cost_ns(adds[name], options.calls))
    print(f"{'':32}{'ns per call':>14}{'times the barest':>28}")
    for name, values in costs.items():
        ratios = [value / bare for value, bare in zip(values, costs[BARE], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        ratio = f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"
        print(f"{name:32}{statistics.median(values):>14.0f}{ratio:>28}")


if __name__ == "__main__":
    main()
